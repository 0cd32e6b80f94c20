"""File formats of HiFi-GAN generators with a common interface: the authors' and transformers'.

The networks come from the libraries. The generators of speechbrain and of transformers both have the authors' leaky
ReLU slopes, 0.1 inside and 0.01 before the last convolution.
Source: Kong et al. 2020 (arXiv:2010.05646).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spectron.audio.mel import MelConfig
from spectron.errors import CheckpointError, ConfigError
from spectron.vocoders.mel_bridge import MelFormat
from spectron.weights.hub import safetensors_files
from spectron.weights.speechbrain_import import import_speechbrain
from spectron.weights.state_dicts import all_floats, read_tensors, require_cover

WEIGHT_NORM = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))


class HiFiGANFormat(nn.Module, ABC):
    """A HiFi-GAN generator read from a folder.

    Attributes:
        files: Names of the files that describe it, besides its weights.
        weights_file: Name of the file of weights that ``save`` writes.
        network: The library's generator, without weight normalisation.
        trained_on: Its spectrogram settings; None if the folder does not state them.
        wanted: Numeric format of its spectrogram.
        hop_samples: Samples that it makes of a frame.
    """

    files: ClassVar[tuple[str, ...]]
    weights_file: ClassVar[str] = "model.safetensors"
    network: nn.Module
    trained_on: MelConfig | None
    wanted: MelFormat
    hop_samples: int

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__()
        self.source = source
        self.described = {
            name: (folder / name).read_text(encoding="utf-8") for name in self.files if (folder / name).is_file()
        }

    @classmethod
    @abstractmethod
    def fits(cls, folder: Path) -> bool:
        """Return whether a folder's files have this format."""

    @abstractmethod
    def forward(self, frames: Tensor) -> Tensor:
        """Convert frames (T, M) in the network's numeric format to T * hop samples."""

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Load the network's tensors, exactly those.

        Raises:
            ConfigError: naming tensors that are missing, left over or of another shape.
        """
        try:
            require_cover(self.network.state_dict(), tensors, repr(self.source), key="source")
        except CheckpointError as error:
            raise ConfigError(str(error)) from error
        self.network.load_state_dict(tensors)

    def published_name(self, name: str) -> str:
        """Return the name that a tensor of the network has in this format's files."""
        return name

    def save(self, folder: Path, half: bool = False) -> None:
        """Write it in this format, in 16-bit floats if ``half``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.described.items():
            (folder / name).write_text(text, encoding="utf-8")
        dtype = torch.float16 if half else torch.float32
        tensors = {
            self.published_name(name): value.detach().cpu().to(dtype)
            for name, value in self.network.state_dict().items()
        }
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / self.weights_file)


class AuthorsFormat(HiFiGANFormat):
    """The authors' ``config.json`` and weights in safetensors, with weight normalisation or without.

    The network is speechbrain's, whose modules have the authors' names. Its convolutions pad the ends with zeros, as
    the authors' do (speechbrain pads with reflections). Frames are centred half a hop later, because the authors pad
    (n_fft - hop) / 2 samples on each side.
    """

    files = ("config.json",)

    def __init__(self, folder: Path, source: str) -> None:
        super().__init__(folder, source)
        config = json.loads(self.described["config.json"])
        dilations = config["resblock_dilation_sizes"]
        self.network = speechbrain_generator(
            padding="constant",
            in_channels=config["num_mels"],
            out_channels=1,
            resblock_type=str(config.get("resblock", "1" if len(dilations[0]) == 3 else "2")),
            resblock_dilation_sizes=dilations,
            resblock_kernel_sizes=config["resblock_kernel_sizes"],
            upsample_kernel_sizes=config["upsample_kernel_sizes"],
            upsample_initial_channel=config["upsample_initial_channel"],
            upsample_factors=config["upsample_rates"],
        )
        kernels, rate = len(config["resblock_kernel_sizes"]), config["sampling_rate"]
        tensors = without_weight_norm(read_safetensors(folder, source))
        self.load({self.network_name(name, kernels): value for name, value in tensors.items()})
        bands = {
            "n_mels": config["num_mels"],
            "low_hz": float(config["fmin"]),
            "high_hz": float(config["fmax"] or rate / 2),
        }
        self.trained_on = slaney_mel(source, rate, config["hop_size"], config["win_size"], config["n_fft"], **bands)
        self.wanted = MelFormat(centred=False)
        self.hop_samples = config["hop_size"]

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Return whether there is a config.json with convolutions and without a model type of transformers."""
        config = read_json(folder / "config.json")
        return "upsample_rates" in config and "model_type" not in config

    @staticmethod
    def network_name(name: str, kernels: int) -> str:
        """Return the network's name of a tensor; some files name blocks ``res.<stage>.<kernel>.<layer>``."""
        name = name.removeprefix("generator.")
        block = re.match(r"res\.(\d+)\.(\d+)\.(\d+)\.", name)
        if block is not None:
            stage, kernel, layer = map(int, block.groups())
            name = f"resblocks.{stage * kernels + kernel}.convs.{layer}.{name[block.end() :]}"
        stem, _, leaf = name.rpartition(".")
        return f"{stem}.conv.{leaf}"

    def published_name(self, name: str) -> str:
        """Return the authors' name of a tensor."""
        return name.replace(".conv.", ".")

    def forward(self, frames: Tensor) -> Tensor:
        """Convert frames (T, M) to T * hop samples."""
        waveform: Tensor = self.network(frames.T[None])
        return waveform[0, 0]


class TransformersFormat(HiFiGANFormat):
    """transformers' ``SpeechT5HifiGan``, with its mean and scale; mel settings in ``preprocessor_config.json``, if any.

    Its feature extractor takes log10 of magnitudes, as do all published models of this class.
    """

    files = ("config.json", "preprocessor_config.json")
    kinds = ("hifigan", "speecht5_hifigan", "fastspeech2_conformer_hifigan")

    def __init__(self, folder: Path, source: str) -> None:
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        super().__init__(folder, source)
        config = json.loads(self.described["config.json"])
        settings = SpeechT5HifiGanConfig(**{key: value for key, value in config.items() if key != "model_type"})
        self.network = SpeechT5HifiGan(settings)
        self.load(without_weight_norm(read_safetensors(folder, source)))
        self.trained_on = self.settings_of(read_json(folder / "preprocessor_config.json"))
        self.wanted = MelFormat(log="log10")
        self.hop_samples = int(torch.tensor(settings.upsample_rates).prod())

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Return whether config.json names the class, by its present or an earlier name, or an equal network."""
        return read_json(folder / "config.json").get("model_type") in cls.kinds

    @staticmethod
    def settings_of(extractor: dict[str, Any]) -> MelConfig | None:
        """Return the spectrogram settings of a ``SpeechT5FeatureExtractor``, whose filter bank is Slaney's."""
        if not extractor:
            return None
        return MelConfig(
            sample_rate_hz=extractor["sampling_rate"],
            frame_shift_ms=float(extractor["hop_length"]),
            window_ms=float(extractor["win_length"]),
            n_mels=extractor["num_mel_bins"],
            low_hz=float(extractor["fmin"]),
            high_hz=float(extractor["fmax"]),
            floor=extractor["mel_floor"],
            mel_scale="slaney",
            area_norm=True,
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Convert frames (T, M) to T * hop samples."""
        waveform: Tensor = self.network(frames[None])
        return waveform[0]


def speechbrain_generator(padding: str = "reflect", **settings: Any) -> nn.Module:
    """Build speechbrain's generator without weight normalisation, with this padding mode of its convolutions."""
    import_speechbrain("HiFiGANVocoder")
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator
    from speechbrain.nnet.CNN import Conv1d

    generator = HifiganGenerator(**settings)
    generator.remove_weight_norm()
    for module in generator.modules():
        if isinstance(module, Conv1d):
            module.padding_mode = padding
    return generator


def slaney_mel(source: str, rate_hz: int, hop: int, window: int, fft_size: int, **bands: Any) -> MelConfig:
    """Convert sizes in samples to spectrogram settings; ``bands`` override librosa's default filter bank.

    Raises:
        ConfigError: if the FFT size is not the one that the platform uses with this window.
    """
    norm = {"mel_scale": "slaney", "area_norm": True}
    mel = MelConfig(
        rate_hz, frame_shift_ms=1000 * hop / rate_hz, window_ms=1000 * window / rate_hz, **{**norm, **bands}
    )
    if mel.fft_size != fft_size:
        raise ConfigError(
            f"{source!r} was trained with an FFT of {fft_size} samples and a window of {window}; the speech head's FFT "
            f"has {mel.fft_size}, the next power of two of the window. Use another vocoder",
            key="source",
        )
    return mel


def without_weight_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply magnitude and direction of every normalised weight, and return all tensors."""
    plain = {name: value.float() for name, value in tensors.items()}
    for magnitude, direction in WEIGHT_NORM:
        for name in [name for name in plain if name.endswith(magnitude)]:
            stem = name.removesuffix(magnitude)
            size, towards = plain.pop(name), plain.pop(stem + direction)
            plain[f"{stem}.weight"] = towards * (size / towards.flatten(1).norm(dim=1).view_as(size))
    return plain


def read_safetensors(folder: Path, source: str) -> dict[str, Tensor]:
    """Read the tensors of the folder's only file of weights.

    Raises:
        ConfigError: with the key ``source``, if the folder has several files of weights or none.
    """
    files = safetensors_files(folder, source)
    if len(files) > 1:
        raise ConfigError(
            f"{source!r} contains {len(files)} files of weights, {files[0].name} and others. Give a folder with one",
            key="source",
        )
    return read_tensors(files[0], "source", is_float=all_floats)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty dict if there is no file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
