"""HiFi-GAN from a folder or the hub, in any of the formats that it is published in."""

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
# What the class of transformers was made for, shown to whoever has a folder that does not tell.
SPEECHT5 = MelConfig(16000, 16.0, 64.0, 80, 80.0, 7600.0, 1.0e-10, "slaney", True)


class HiFiGANVocoder(Vocoder):
    """A pre-trained HiFi-GAN.

    The head's natural log-mel is brought into the form that the generator was trained on by a ``MelBridge``; where its frames are
    centred half a hop late, one repeated frame is added and half a hop cut from the beginning, so that speech stays where it was.

    A generator's convolutions look over the end of a row, and no library hides padded frames from them inside. Rows are therefore
    vocoded one by one: a batch gives exactly what its rows give, at the price of a GPU's parallelism across rows.

    Args:
        mel: Spectrogram settings of the speech head (supplied by the platform).
        source: Folder or hub name: the authors' format in safetensors, transformers' ``SpeechT5HifiGan``, or speechbrain's.
        revision: Revision on the hub.
        bridge: ``exact`` lets the head's floor and area normalisation differ from the generator's, and converts.
        trained_on: The generator's spectrogram settings, where the folder does not hold them.
        mel_format: How the generator wants the numbers, where that is not what is usual for its format.
        dtype: Of its weights and its arithmetic.

    Raises:
        ConfigError: if the source cannot be read, or was trained on another spectrogram than the speech head's.
    """

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
        super().__init__()
        self.mel = mel
        self.generator = read_generator(locate(source, revision), source)
        # As they were given, for an export: what the folder tells is in the folder again.
        self.arguments = {"bridge": bridge, "trained_on": trained_on, "mel_format": mel_format, "dtype": dtype}
        settings = settled(self.generator.trained_on, trained_on, source)
        if settings.hop_samples != self.generator.hop_samples:
            raise ConfigError(
                f"{source!r} makes {self.generator.hop_samples} samples of a frame, where its spectrogram settings say "
                f"{settings.hop_samples}: description and generator do not belong together. Correct `trained_on`, or take another folder",
                key="source",
            )
        require_same_mel(mel, settings, source, bridge)
        self.bridge = MelBridge(mel, settings, mel_format or self.generator.wanted)
        self.generator.to(getattr(torch, dtype))

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (B, T, M) with (B,) valid frames to waveform (B, S) and (B,) valid samples, one hop a frame."""
        rows = [self.speak(row[:frames]) for row, frames in zip(mel, num_frames.tolist(), strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), num_frames * self.mel.hop_samples

    def speak(self, mel: Tensor) -> Tensor:
        """One spectrogram (T, M) to its waveform (T * hop,)."""
        lag, num_samples = self.bridge.lag_samples, len(mel) * self.mel.hop_samples
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
        """Write it in the format that it came in, as 16-bit floats if ``half``; the arguments that build it again from there."""
        self.generator.save(folder, half)
        given = {key: value for key, value in self.arguments.items() if value is not None}
        return {
            key: asdict(value) if isinstance(value, MelConfig | MelFormat) else value for key, value in given.items()
        }


def read_generator(folder: Path, source: str) -> HiFiGANFormat:
    """The generator of a folder, whose files tell its format.

    Raises:
        ConfigError: beginning with ``source``, if the folder is of no known format or cannot be read.
    """
    with reading(source, "a HiFi-GAN vocoder"):
        for kind in FORMATS:
            if kind.fits(folder):
                return kind(folder, source)
    raise ConfigError(
        f"{source!r} ({folder}) is no HiFi-GAN: it needs the authors' config.json (upsample_rates, num_mels, ...), a config.json "
        "of transformers' SpeechT5HifiGan (model_type speecht5_hifigan), or speechbrain's hyperparams.yaml",
        key="source",
    )


def settled(found: MelConfig | None, given: MelConfig | None, source: str) -> MelConfig:
    """The one statement of a generator's spectrogram settings: the folder's, or else the user's.

    Raises:
        ConfigError: beginning with ``trained_on``, where there is none, or two.
    """
    if found is not None and given is not None:
        raise ConfigError(
            f"{source!r} tells its settings itself, {as_yaml(found)}. Remove `trained_on`", key="trained_on"
        )
    settings = found or given
    if settings is None:
        raise ConfigError(
            f"{source!r} does not tell the spectrogram settings that it was trained on. State them; those of "
            f"microsoft/speecht5_hifigan are trained_on: {as_yaml(SPEECHT5)}",
            key="trained_on",
        )
    return settings
