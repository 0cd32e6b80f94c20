"""Vocoder of codes: codes to a spectrogram, and any vocoder of spectrograms."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spectron.audio.codes import CodeFormat
from spectron.audio.mel import MelConfig, padding_mask
from spectron.contracts import Vocoder
from spectron.errors import ConfigError
from spectron.tokenizers import UnitTokenizer
from spectron.tokenizers.tables import embedded
from spectron.tokenizers.tokenizer import Outside, keep_fingerprint, require_tokenizer_of
from spectron.vocoders.vocos_network import Backbone, VocosSettings
from spectron.weights.hub import locate, reading
from spectron.weights.state_dicts import read_tensors, require_cover, stored

SETTINGS_FILE, WEIGHTS_FILE = "code_mel.json", "model.safetensors"
MEL = MelConfig()
SIZE = VocosSettings(width=192, layers=6, feedforward=576)


class CodesToMel(nn.Module, ABC):
    """Codes to a spectrogram, all frames at once. Built as ``CodesToMel(format, ...)`` with the speech head's format.

    Attributes:
        format: Format of the codes.
        mel: Settings of the spectrogram.
    """

    format: CodeFormat
    mel: MelConfig

    @abstractmethod
    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert codes (B, T, Q) with (B,) valid frames to log-mel (B, T', M) and (B,) valid frames."""


class CodeVocoder(Vocoder):
    """Vocoder of codes with a spectrogram in between.

    Args:
        format: Format of the speech head (supplied by the platform).
        to_mel: Makes a spectrogram of the codes.
        vocoder: Makes a waveform of the spectrogram.

    Raises:
        ConfigError: if the spectrogram has another sample rate than the codes.
    """

    takes = CodeFormat
    format: CodeFormat

    def __init__(
        self,
        format: CodeFormat,
        to_mel: Callable[[CodeFormat], CodesToMel],
        vocoder: Callable[[MelConfig], Vocoder],
    ) -> None:
        super().__init__(format)
        self.to_mel = to_mel(format)
        if self.to_mel.mel.sample_rate_hz != format.sample_rate_hz:
            raise ConfigError(
                f"the spectrogram has a sample rate of {self.to_mel.mel.sample_rate_hz} Hz, but the codes are of "
                f"{format.sample_rate_hz} Hz. Give both the same rate",
                key="to_mel",
            )
        self.vocoder = vocoder(self.to_mel.mel)

    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert codes (B, T, Q) with (B,) valid frames to a waveform (B, S) and (B,) samples.

        Raises:
            DataError: naming a code that its codebook does not have.
        """
        self.format.require_within(codes, num_frames)
        return self.vocoder(*self.to_mel(codes, num_frames))


class CentroidMel(CodesToMel):
    """Spectrogram of the centroids of stacked log-mel frames: a residual quantiser undone, without any training.

    Args:
        format: Format of the speech head (supplied by the platform).
        tokenizer: Tokenizer of the codes, whose encoder is a ``FrameStackEncoder`` without ``output_dim``.

    Raises:
        ConfigError: if the tokenizer is not the head's, or its features are no stacked frames.
    """

    def __init__(self, format: CodeFormat, tokenizer: UnitTokenizer) -> None:
        super().__init__()
        require_tokenizer_of(tokenizer, format, "this spectrogram")
        self.outside = Outside(tokenizer)
        self.format, mel, stack = (
            format,
            getattr(tokenizer.encoder, "mel", None),
            getattr(tokenizer.encoder, "stack", 0),
        )
        if not isinstance(mel, MelConfig) or tokenizer.encoder.output_dim != stack * mel.n_mels:
            raise ConfigError(
                "the features of this tokenizer are no log-mel frames. Use FrameStackEncoder without output_dim, or "
                "train a UnitToMel",
                key="tokenizer",
            )
        self.mel, self.stack = mel, stack

    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the centroids of codes (B, T, Q) as log-mel (B, T * stack, M)."""
        stacks = self.outside.on(codes.device).decode(codes)
        return stacks.unflatten(2, (self.stack, -1)).flatten(1, 2), num_frames * self.stack


class UnitToMel(CodesToMel):
    """Small network that makes a spectrogram of codes, all frames at once; ``CodesToMelModule`` trains it.

    Each frame of the spectrogram reads the code of its time. The network knows no voice: it gives the mean voice of its
    training data.

    Args:
        format: Format of the speech head (supplied by the platform).
        mel: Settings of the spectrogram of an untrained network.
        size: Size of an untrained network; ``draft_rounds`` has no meaning here.
        source: Folder of a trained network, as ``spectron export`` writes it; None builds an untrained one.

    Raises:
        ConfigError: if the source cannot be read, or was trained on the codes of another tokenizer.
    """

    def __init__(
        self, format: CodeFormat, mel: MelConfig = MEL, size: VocosSettings = SIZE, source: str | None = None
    ) -> None:
        super().__init__()
        self.format = format
        tensors: dict[str, Tensor] = {}
        if source is not None:
            mel, size, tensors = read_unit_to_mel(locate(source), source)
        self.mel, self.size = mel, size
        self.codes = nn.ModuleList(nn.Embedding(count, size.width) for count in format.sizes)
        self.backbone = Backbone(size.width, size)
        self.out = nn.Linear(size.width, mel.n_mels)
        nn.init.constant_(self.out.bias, math.log(mel.floor) / 2)  # between silence and loud
        keep_fingerprint(self, format.tokenizer)
        if source is not None:
            stored = bytes(tensors.get("tokenizer_fingerprint", torch.zeros(0)).tolist()).hex()
            if stored != format.tokenizer:
                raise ConfigError(
                    f"{source!r} was trained on the codes of tokenizer {stored[:8] or 'unknown'}, but the speech head "
                    f"gives {format}. Train one for this tokenizer, or name the tokenizer of the training",
                    key="source",
                )
            require_cover(self.state_dict(), tensors, repr(source), key="source")
            self.load_state_dict(tensors)

    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert codes (B, T, Q) to log-mel (B, T', M) at the spectrogram's frame rate."""
        rate = self.mel.frame_rate_hz / self.format.rate_hz
        num_mel = torch.ceil(num_frames * rate - 1e-6).long()
        longest = math.ceil(codes.shape[1] * rate - 1e-6)
        if longest == 0:
            return torch.zeros(len(codes), 0, self.mel.n_mels, device=codes.device), num_mel
        codes = codes.masked_fill(padding_mask(num_frames, codes.shape[1])[..., None], 0)
        each = embedded(self.codes, codes)
        times = (torch.arange(longest, device=codes.device) / rate).long().clamp(max=codes.shape[1] - 1)
        padding = padding_mask(num_mel, longest)
        features = self.backbone(each[:, times].transpose(1, 2), padding[:, None])
        return self.out(features).clamp(min=math.log(self.mel.floor)).masked_fill(padding[..., None], 0.0), num_mel

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write weights (in 16-bit floats if ``half``) and settings, so that ``source: <folder>`` loads them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: stored(value, half) for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE)
        settings = {"mel": asdict(self.mel), "size": asdict(self.size)}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return {}


def read_unit_to_mel(folder: Path, source: str) -> tuple[MelConfig, VocosSettings, dict[str, Tensor]]:
    """Read settings and weights, as ``UnitToMel.save`` writes them.

    Raises:
        ConfigError: with the key ``source``.
    """
    if (folder / "to_mel" / SETTINGS_FILE).is_file():  # an export, with the network among its parts
        folder = folder / "to_mel"
    if not (folder / SETTINGS_FILE).is_file():
        raise ConfigError(f"{source!r} ({folder}) holds no {SETTINGS_FILE}. Name another folder", key="source")
    with reading(source, "a UnitToMel"):
        tensors = read_tensors(folder / WEIGHTS_FILE, "source")
        stored = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        return MelConfig(**stored["mel"]), VocosSettings(**stored["size"]), cast(dict[str, Tensor], tensors)
