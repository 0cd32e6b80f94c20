"""HiFi-GAN vocoder from a folder or the hub, in any of the published formats."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from spectron.audio.mel import MelConfig
from spectron.contracts import Vocoder
from spectron.errors import ConfigError
from spectron.vocoders.hifigan_formats import AuthorsFormat, HiFiGANFormat, TransformersFormat
from spectron.vocoders.hifigan_speechbrain import SpeechbrainFormat
from spectron.vocoders.mel_bridge import Bridging, MelBridge, MelFormat, as_yaml, require_same_mel
from spectron.weights.hub import locate, reading

FORMATS: tuple[type[HiFiGANFormat], ...] = (TransformersFormat, AuthorsFormat, SpeechbrainFormat)
# Settings of the original model of transformers' class, shown as an example if a folder does not state its own.
SPEECHT5 = MelConfig(16000, 16.0, 64.0, 80, 80.0, 7600.0, 1.0e-10, "slaney", True)


class HiFiGANVocoder(Vocoder):
    """A pre-trained HiFi-GAN.

    A ``MelBridge`` converts the head's natural log-mel to the numbers that the generator was trained on. If the
    generator centres frames half a hop later, the last frame is repeated and half a hop is cut from the beginning, so
    that the timing of the speech stays the same.

    A generator's convolutions read beyond the end of a row, and no library masks padded frames within them. Rows are
    therefore vocoded one by one: a batch gives exactly what its rows give, but a GPU cannot process rows in parallel.

    Args:
        mel: Spectrogram settings of the speech head (supplied by the platform).
        source: Folder or hub name: the authors' format in safetensors, transformers' ``SpeechT5HifiGan``, or
            speechbrain's.
        revision: Revision on the hub.
        bridge: ``exact`` converts between different floors and area normalisations of head and generator.
        trained_on: The generator's spectrogram settings, if the folder does not contain them.
        mel_format: Numeric format of the generator's spectrogram, if it differs from the usual one of its file format.
        dtype: Type of weights and arithmetic.

    Raises:
        ConfigError: if the source cannot be read, or was trained on another spectrogram than the speech head's.
    """

    format: MelConfig

    def __init__(
        self,
        mel: MelConfig,
        source: str,
        revision: str | None = None,
        bridge: Bridging = "none",
        trained_on: MelConfig | None = None,
        mel_format: MelFormat | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        super().__init__(mel)
        self.generator = read_generator(locate(source, revision), source)
        # As given, for an export: whatever the folder states is in the exported folder again.
        self.arguments = {"bridge": bridge, "trained_on": trained_on, "mel_format": mel_format, "dtype": dtype}
        settings = settled(self.generator.trained_on, trained_on, source)
        if settings.hop_samples != self.generator.hop_samples:
            raise ConfigError(
                f"{source!r} makes {self.generator.hop_samples} samples of a frame, but its spectrogram settings state "
                f"{settings.hop_samples}. Correct `trained_on`, or use another folder",
                key="source",
            )
        require_same_mel(mel, settings, source, bridge)
        self.bridge = MelBridge(mel, settings, mel_format or self.generator.wanted)
        self.generator.to(getattr(torch, dtype))

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert log-mel (B, T, M) with (B,) valid frames to a waveform (B, S) and (B,) samples, a hop per frame."""
        rows = [self.speak(row[:frames]) for row, frames in zip(mel, num_frames.tolist(), strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), num_frames * self.format.hop_samples

    def speak(self, mel: Tensor) -> Tensor:
        """Convert one spectrogram (T, M) to its waveform (T * hop,)."""
        lag, num_samples = self.bridge.lag_samples, len(mel) * self.format.hop_samples
        if num_samples == 0:
            return mel.new_zeros(0, dtype=torch.float32)
        frames = self.bridge(mel.float())
        if lag > 0:
            frames = torch.cat([frames, frames[-1:]])
        dtype = next(self.generator.parameters()).dtype
        with torch.autocast(mel.device.type, enabled=False):
            waveform: Tensor = self.generator(frames.to(dtype))
        return waveform[lag : lag + num_samples].float()

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write it in its format, in 16-bit floats if ``half``; return the arguments that build it again from there."""
        self.generator.save(folder, half)
        given = {key: value for key, value in self.arguments.items() if value is not None}
        return {
            key: asdict(value) if isinstance(value, MelConfig | MelFormat) else value for key, value in given.items()
        }


def read_generator(folder: Path, source: str) -> HiFiGANFormat:
    """Read the generator of a folder; the files show the format.

    Raises:
        ConfigError: with the key ``source``, if the folder is of no known format or cannot be read.
    """
    with reading(source, "a HiFi-GAN vocoder"):
        for kind in FORMATS:
            if kind.fits(folder):
                return kind(folder, source)
    raise ConfigError(
        f"{source!r} ({folder}) is no HiFi-GAN. It needs the authors' config.json (upsample_rates, num_mels, ...), a "
        "config.json of transformers' SpeechT5HifiGan (model_type speecht5_hifigan), or speechbrain's hyperparams.yaml",
        key="source",
    )


def settled(found: MelConfig | None, given: MelConfig | None, source: str) -> MelConfig:
    """Return a generator's spectrogram settings: the folder's, or else the user's.

    Raises:
        ConfigError: with the key ``trained_on``, if neither or both state them.
    """
    if found is not None and given is not None:
        raise ConfigError(f"{source!r} states its settings itself, {as_yaml(found)}. Remove the key", key="trained_on")
    settings = found or given
    if settings is None:
        raise ConfigError(
            f"{source!r} does not state the spectrogram settings that it was trained on. Set this key; for "
            f"microsoft/speecht5_hifigan it is trained_on: {as_yaml(SPEECHT5)}",
            key="trained_on",
        )
    return settings
