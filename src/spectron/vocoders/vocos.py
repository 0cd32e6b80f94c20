"""Vocos vocoder: ConvNeXt blocks predict magnitude and phase of every frame; an inverse STFT gives the waveform.

Source: Siuzdak 2023 (arXiv:2306.00814). Module names are those of its published weights, which therefore load.
Differences: padded frames are masked in every convolution and in the overlap-add, so that a batch gives what its rows
give; frame t is centred on sample ``t * hop``, and T frames give ``T * hop`` samples. An option of this project, off in
the published models: the network improves a draft by Griffin-Lim. The draft is a fixed-point iteration like WaveFit's
(arXiv:2210.01029) without weights, so that the network needs little training to sound better than the draft.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from spectron.audio.mel import MelConfig, padding_mask
from spectron.contracts import Vocoder
from spectron.errors import ConfigError
from spectron.vocoders.mel_bridge import Bridging, MelBridge, require_same_mel
from spectron.vocoders.vocos_network import Backbone, Draft, InverseSTFTHead, VocosSettings
from spectron.weights.hub import locate, reading, safetensors_files
from spectron.weights.state_dicts import all_floats, read_tensors, require_cover, stored

PUBLISHED_FLOOR = 1.0e-7  # of the magnitudes that the published models were trained on
SETTINGS_FILE, WEIGHTS_FILE = "vocos.json", "model.safetensors"
VOCOS = VocosSettings()


class VocosVocoder(Vocoder):
    """A Vocos of any size: to be trained by ``spectron.training.VocoderModule``, or pre-trained.

    Args:
        mel: Spectrogram settings of the speech head (supplied by the platform).
        source: Folder or hub name of a trained Vocos with its settings, in this project's or the published format; None
            builds an untrained one of size ``vocos``.
        revision: Revision on the hub.
        vocos: Size of an untrained Vocos.
        bridge: ``exact`` converts a spectrogram of another floor or area normalisation; see ``mel_bridge``.

    Raises:
        ConfigError: if the source cannot be read, or was trained on another spectrogram than the speech head's.
    """

    format: MelConfig

    def __init__(
        self,
        mel: MelConfig,
        source: str | None = None,
        revision: str | None = None,
        vocos: VocosSettings = VOCOS,
        bridge: Bridging = "none",
    ) -> None:
        super().__init__(mel)
        self.settings, tensors = (
            (Settings(mel, vocos), {}) if source is None else read_vocos(locate(source, revision), source)
        )
        if source is not None:
            require_same_mel(mel, self.settings.mel, source, bridge)
        vocos = self.settings.vocos
        self.bridge = MelBridge(mel, self.settings.mel) if mel != self.settings.mel else nn.Identity()
        self.draft = Draft(mel, vocos) if vocos.draft_rounds else None
        self.backbone = Backbone(mel.n_mels, vocos)
        self.head = InverseSTFTHead(mel, vocos)
        if source is not None:
            require_cover(self.state_dict(), tensors, repr(source), key="source")
            self.load_state_dict(tensors)

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert log-mel (B, T, M) with (B,) valid frames to a waveform (B, S) and (B,) samples, a hop per frame."""
        num_samples = num_frames * self.format.hop_samples
        if mel.shape[1] == 0:
            return mel.new_zeros(len(mel), 0), num_samples
        padding = padding_mask(num_frames, mel.shape[1])  # (B, T)
        mel = self.bridge(mel.masked_fill(padding[..., None], 0.0))
        draft = seen = None
        if self.draft is not None:
            draft = self.draft.spectra(mel, padding)
            seen = self.draft(draft)
        return self.head(self.backbone(mel.transpose(1, 2), padding[:, None], seen), draft, padding), num_samples

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write weights (in 16-bit floats if ``half``) and settings, so that ``source: <folder>`` loads them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: stored(value, half) for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE)
        (folder / SETTINGS_FILE).write_text(json.dumps(asdict(self.settings), indent=2) + "\n", encoding="utf-8")
        return {"bridge": "exact"} if self.format != self.settings.mel else {}


@dataclass
class Settings:
    """Spectrogram settings and size of a trained Vocos."""

    mel: MelConfig
    vocos: VocosSettings


def read_vocos(folder: Path, source: str) -> tuple[Settings, dict[str, Tensor]]:
    """Read settings and weights of a trained Vocos, as ``VocosVocoder.save`` writes it or as published, in safetensors.

    Raises:
        ConfigError: with the key ``source``.
    """
    if (folder / "vocoder" / SETTINGS_FILE).is_file():  # an export, with the vocoder among its parts
        folder = folder / "vocoder"
    if not (folder / SETTINGS_FILE).is_file() and not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"{source!r} ({folder}) contains neither {SETTINGS_FILE} nor the config.yaml of a published Vocos. Name "
            "another folder",
            key="source",
        )
    safetensors_files(folder, source)
    with reading(source, "a Vocos vocoder"):
        tensors = read_tensors(folder / WEIGHTS_FILE, "source", is_float=all_floats)
        if (folder / SETTINGS_FILE).is_file():
            stored = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
            return Settings(MelConfig(**stored["mel"]), VocosSettings(**stored["vocos"])), tensors
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        settings = published_settings(
            *(config[name]["init_args"] for name in ("feature_extractor", "backbone", "head"))
        )
        # The front end and the window are constants that follow from the settings.
        kept = {
            name: value
            for name, value in tensors.items()
            if not name.startswith("feature_extractor.") and name != "head.istft.window"
        }
        return settings, kept


def published_settings(extractor: dict[str, Any], backbone: dict[str, Any], head: dict[str, Any]) -> Settings:
    """Convert the published configuration to settings; the classes that it names are not read.

    Raises:
        ConfigError: if its frames are not centred, or if it synthesises from other frames than it reads.
    """
    if extractor.get("padding", "center") != "center" or head.get("padding", "same") != "center":
        raise ConfigError(
            "its frames are not centred (padding: same), but the platform's always are. Use another Vocos", key="source"
        )
    rate, hop, window = extractor["sample_rate"], extractor["hop_length"], extractor["n_fft"]
    if (head["hop_length"], head["n_fft"]) != (hop, window):
        raise ConfigError(
            "its synthesis frames differ from those of its spectrogram (n_fft, hop_length). Use another Vocos",
            key="source",
        )
    mel = MelConfig(rate, 1000 * hop / rate, 1000 * window / rate, extractor["n_mels"], 0.0, rate / 2, PUBLISHED_FLOOR)
    return Settings(mel, VocosSettings(backbone["dim"], backbone["num_layers"], backbone["intermediate_dim"]))
