"""File format of speechbrain's HiFi-GAN generators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError
from spectron.vocoders.hifigan_formats import HiFiGANFormat, slaney_mel, speechbrain_generator, without_weight_norm
from spectron.vocoders.mel_bridge import MelFormat
from spectron.weights.checkpoint_files import read_pickled_tensors
from spectron.weights.hyperpyyaml_values import read_hyperparams
from spectron.weights.state_dicts import all_floats, read_tensors

# Arguments of speechbrain's mel_spectrogram, and their names at the top level of its recipes.
SPECTROGRAM_KEYS = {
    "sample_rate": "sample_rate",
    "hop_length": "hop_length",
    "win_length": "win_length",
    "n_fft": "n_fft",
    "n_mels": "n_mel_channels",
    "f_min": "mel_fmin",
    "f_max": "mel_fmax",
    "power": "power",
    "normalized": "mel_normalized",
    "norm": "norm",
    "mel_scale": "mel_scale",
    "compression": "dynamic_range_compression",
}


class SpeechbrainFormat(HiFiGANFormat):
    """speechbrain's ``hyperparams.yaml`` with its tensors in ``generator.ckpt`` or ``generator.safetensors``.

    Only values of the YAML are read; none of its tags runs. The generator reads a few repeated frames before the first
    and after the last, as in its ``inference``; their samples are cut off.
    """

    files = ("hyperparams.yaml",)
    weights_file = "generator.safetensors"

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__(folder, source)
        values = read_hyperparams(self.described["hyperparams.yaml"])
        settings = dict(values["generator"])
        kind = settings.pop("class", "")
        if kind.rpartition(".")[2] != "HifiganGenerator" or settings.get("cond_channels"):
            raise ConfigError(
                f"the generator of {source!r} is a {kind or 'nameless class'}, not an unconditioned HifiganGenerator. "
                "Use another vocoder",
                key="source",
            )
        self.network = speechbrain_generator(**settings)
        self.load(without_weight_norm(read_weights(folder, source)))
        self.trained_on, gain = spectrogram_of(values, source)
        self.wanted = MelFormat(gain=gain)
        self.hop_samples = int(torch.tensor(settings["upsample_factors"]).prod())

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Return whether there is a hyperparams.yaml."""
        return (folder / "hyperparams.yaml").is_file()

    def forward(self, frames: Tensor) -> Tensor:
        """Convert frames (T, M) to T * hop samples."""
        margin = int(self.network.inference_padding)  # type: ignore[arg-type]
        padded = nn.functional.pad(frames.T[None], (margin, margin), "replicate")
        waveform: Tensor = self.network(padded)
        return waveform[0, 0, margin * self.hop_samples :][: len(frames) * self.hop_samples]


def read_weights(folder: Path, source: str) -> dict[str, Tensor]:
    """Read the generator's tensors; a checkpoint is unpickled as tensors only.

    Raises:
        ConfigError: if neither file exists.
        CheckpointError: if the file is broken, or has tensors that are not finite.
    """
    if (folder / "generator.safetensors").is_file():
        return read_tensors(folder / "generator.safetensors", "source", is_float=all_floats)
    if not (folder / "generator.ckpt").is_file():
        raise ConfigError(
            f"{source!r} ({folder}) has a hyperparams.yaml but neither generator.safetensors nor generator.ckpt; "
            "pickled weights are not fetched from a hub. Fetch the whole repository "
            f"(hf download {source} --local-dir <folder>) and give that folder",
            key="source",
        )
    return read_pickled_tensors(folder / "generator.ckpt", "source", is_float=all_floats)


def spectrogram_of(values: dict[str, Any], source: str) -> tuple[MelConfig | None, float]:
    """Return the spectrogram settings of a recipe, None if it does not state them, and the gain of its magnitudes.

    Raises:
        ConfigError: for spectrograms that cannot be computed from log magnitudes.
    """
    named = values.get("mel_spectogram") or values.get("mel_spectrogram") or {}  # misspelt in its recipes
    found: dict[str, Any] = {key: named.get(key, values.get(name)) for key, name in SPECTROGRAM_KEYS.items()}
    if found["sample_rate"] is None or found["hop_length"] is None:
        return None, 1.0
    if found["power"] != 1 or not found["compression"]:
        logarithm = "with" if found["compression"] else "without"
        raise ConfigError(
            f"{source!r} needs spectrograms of power {found['power']} {logarithm} a logarithm, which cannot be "
            "computed exactly from the speech head's. Use a vocoder with power 1 and dynamic_range_compression",
            key="source",
        )
    mel = slaney_mel(
        source,
        found["sample_rate"],
        found["hop_length"],
        found["win_length"],
        found["n_fft"],
        n_mels=found["n_mels"],
        low_hz=float(found["f_min"]),
        high_hz=float(found["f_max"] or found["sample_rate"] / 2),
        mel_scale=found["mel_scale"],
        area_norm=found["norm"] == "slaney",
    )
    energy = torch.hann_window(mel.window_samples).square().sum()
    return mel, float(energy.rsqrt()) if found["normalized"] else 1.0
