"""Contract of a speech tokenizer, which hears one utterance at a time and stores what it has heard.

Kernels give other last bits in other batches, and a last bit can change a code (a nearest neighbour is a jump). Codes
would then depend on the batch. An utterance is therefore tokenized alone, once, and its codes are kept on disk.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import is_dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy
import torch
from torch import Tensor, nn

from spectron.audio.codes import PADDING, CodeFormat
from spectron.batch import unpadded
from spectron.errors import CheckpointError, ConfigError
from spectron.tokenizers.store import CodeStore

LIBRARIES = ("torch", "torchaudio", "transformers", "speechbrain", "peft")
PLAIN = (bool, int, float, str, tuple)
ORIGINS = {"source", "revision", "remote_code", "pretrained", "training", "dump_patches", "fingerprint"}


class SpeechTokenizer(nn.Module, ABC):
    """Speech tokenizer: waveform in, frames of Q codes out. It is never trained by the model that uses it.

    Attributes:
        sample_rate_hz: Sample rate of its input.
        rate_hz: Frames per second.
        sizes: Number of codes of each of the Q codebooks.
        VERSION: Version of its own code; raise it when the same weights give other codes than before.
    """

    sample_rate_hz: int
    rate_hz: float
    sizes: tuple[int, ...]
    VERSION = 1

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Tokenize one utterance (S,) as codes (T, Q) of integers from 0; T is 0 if it is too short for a frame."""

    @cached_property
    def fingerprint(self) -> str:
        """What codes and checkpoints are known by, computed once: weights never change after the constructor."""
        return self.digest()

    def digest(self) -> str:
        """Hash class, version, settings and weights."""
        digest = hashlib.sha256()
        digest.update(repr((self.VERSION, self.sample_rate_hz, self.rate_hz, tuple(self.sizes))).encode())
        for name, module in self.named_modules():
            digest.update(repr((name, settings_of(module))).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(repr((name, value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def format(self) -> CodeFormat:
        """Format of the codes."""
        return CodeFormat(self.sample_rate_hz, self.rate_hz, tuple(self.sizes), self.fingerprint)

    @cached_property
    def store(self) -> CodeStore:
        """Codes that this tokenizer has made before, on this machine."""
        return CodeStore(self.fingerprint)

    @torch.no_grad()
    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize (B, S) audio with (B,) valid samples as codes (B, T, Q), -1 at padding, and (B,) valid frames.

        It waits for the device, because codes are stored.
        """
        rows = [self.codes_of(row) for row in unpadded(waveform, num_samples)]
        longest = max((len(codes) for codes in rows), default=0)
        padded = torch.full((len(rows), longest, len(self.sizes)), PADDING)
        for place, codes in zip(padded, rows, strict=True):
            place[: len(codes)] = codes
        num_frames = torch.tensor([len(codes) for codes in rows], dtype=torch.long)
        return padded.to(waveform.device), num_frames.to(waveform.device)

    def codes_of(self, waveform: Tensor) -> Tensor:
        """Return the codes (T, Q) of one utterance (S,), on the CPU, from the store if it has them."""
        samples = waveform.detach().float().cpu().numpy()
        key = hashlib.sha256(samples.tobytes()).digest()
        known = self.store.get(key)
        if known is None:
            # The trainer's precision must not change the codes.
            with torch.autocast(waveform.device.type, enabled=False):
                known = self.encode(waveform).cpu().numpy().astype(numpy.int32)
            self.store.put(key, known)
        return torch.from_numpy(known.astype(numpy.int64))

    def train(self, mode: bool = True) -> SpeechTokenizer:
        """Stay in eval mode: codes never depend on dropout."""
        return super().train(False)


Tokenizer = TypeVar("Tokenizer", bound=SpeechTokenizer)


class Outside(Generic[Tokenizer]):
    """Tokenizer that a module uses without owning it: its weights are neither the module's nor in its checkpoints."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def on(self, device: torch.device) -> Tokenizer:
        """Return the tokenizer on a device: it does not move with the module."""
        return self.tokenizer.to(device)


def chosen_levels(levels: int, skip_levels: int, held: int, source: str) -> int:
    """Return the last codebook in use, counted from 1, of a source that holds so many; 0 ``levels`` means all.

    Raises:
        ConfigError: if there are fewer codebooks, or none is left.
    """
    chosen = levels or held
    if chosen > held:
        raise ConfigError(f"{source!r} has {held} codebooks, not {levels}. Use fewer levels", key="levels")
    if skip_levels >= chosen:
        raise ConfigError(
            f"{source!r} without the first {skip_levels} of {chosen} codebooks has no codes. Skip fewer levels",
            key="skip_levels",
        )
    return chosen


def settings_of(module: nn.Module) -> list[tuple[str, str]]:
    """Return class and plain settings of a module; where it was read from does not change what it computes.

    Modules of libraries are left out: their settings follow from ours and change names between releases.
    """
    if type(module).__module__.split(".")[0] in LIBRARIES:
        return []
    told: list[tuple[str, str]] = [("class", type(module).__qualname__)]
    for name, value in sorted(vars(module).items()):
        fields = vars(value) if is_dataclass(value) and not isinstance(value, type) else {"": value}
        told += [
            (f"{name}.{key}", repr(held))
            for key, held in sorted(fields.items())
            if isinstance(held, PLAIN) and not {name, key} & ORIGINS and not name.startswith("_")
        ]
    return told


def keep_fingerprint(module: nn.Module, fingerprint: str) -> None:
    """Store the tokenizer's fingerprint in a module's checkpoints, and refuse those of another tokenizer.

    Raises:
        CheckpointError: from ``load_state_dict``, naming both fingerprints.
    """
    module.register_buffer("tokenizer_fingerprint", torch.tensor(list(bytes.fromhex(fingerprint)), dtype=torch.uint8))

    def compare(owner: nn.Module, tensors: dict[str, Tensor], prefix: str, *others: object) -> None:
        stored = tensors.get(f"{prefix}tokenizer_fingerprint")
        if stored is not None and bytes(stored.tolist()).hex() != fingerprint:
            raise CheckpointError(
                f"these weights were trained on the codes of tokenizer {bytes(stored.tolist()).hex()[:8]}, but this "
                f"experiment's tokenizer is {fingerprint[:8]}: other weights, layer, codebooks or version. Name the "
                "tokenizer of the training"
            )

    module.register_load_state_dict_pre_hook(compare)


def require_tokenizer_of(tokenizer: SpeechTokenizer, given: CodeFormat, owner: str) -> None:
    """Refuse a tokenizer that does not make codes of this format.

    Raises:
        ConfigError: naming both.
    """
    if tokenizer.format != given:
        raise ConfigError(
            f"{owner} was made for {tokenizer.format}, but the speech head gives {given}. Name the same tokenizer in "
            "both",
            key="tokenizer",
        )
