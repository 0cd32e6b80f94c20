"""Base of the heads of codes: targets by a speech tokenizer, sampling, and the stop code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spectron.audio.codes import CodeFormat
from spectron.contracts import SpeechHead
from spectron.decoding import Sampling
from spectron.generation import choose_token
from spectron.randomness import RowRandom
from spectron.tokenizers.tokenizer import Outside, SpeechTokenizer, keep_fingerprint

SAMPLING = Sampling()
NEVER = float("-inf")


class CodeHead(SpeechHead):
    """Speech head of codes. The stop is a code of its own, so that it never equals a code of the tokenizer.

    Args:
        tokenizer: Makes the codes. It is no part of the head: checkpoints hold its fingerprint alone.
        sampling: Settings of the choice of the next code.
    """

    format: CodeFormat
    likelihood = "codes"

    def __init__(self, tokenizer: SpeechTokenizer, sampling: Sampling) -> None:
        super().__init__()
        self.outside = Outside(tokenizer)
        self.format = tokenizer.format
        self.sampling = sampling
        keep_fingerprint(self, tokenizer.fingerprint)

    @property
    def tokenizer(self) -> SpeechTokenizer:
        """Tokenizer of the codes."""
        return self.outside.tokenizer

    def codes(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech (B, S) as codes (B, T, Q), 0 at padding, and (B,) valid frames."""
        codes, num_frames = self.outside.on(waveform.device)(waveform, num_samples)
        return codes.clamp(min=0), num_frames

    def chosen(self, logits: Tensor, random: RowRandom | None) -> Tensor:
        """Choose a code (B,) from logits (B, V)."""
        return choose_token(logits, self.sampling, random)


@dataclass
class Compared:
    """One code of each step, (B, K): its ``nats`` (0 if it does not count), whether it is right, whether it counts."""

    nats: Tensor
    right: Tensor
    counted: Tensor


def compared(logits: Tensor, wanted: Tensor, counted: Tensor) -> Compared:
    """Compare codes (B, K) with the logits (B, K, V) that predict them; those ``counted`` (B, K) count."""
    nats = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none").masked_fill(~counted, 0.0)
    return Compared(nats, (logits.argmax(-1) == wanted) & counted, counted)


def unless_stopping(logits: Tensor, stop: int, may_stop: Tensor | None) -> Tensor:
    """Return logits (B, V) in which rows (B,) that may not stop cannot choose the stop."""
    if may_stop is None:
        return logits
    is_stop = functional.one_hot(torch.tensor(stop, device=logits.device), logits.shape[1]).bool()
    return logits.masked_fill(is_stop & ~may_stop[:, None], NEVER)
