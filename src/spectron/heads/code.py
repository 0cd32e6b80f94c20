"""Base of the heads of codes: targets by a speech tokenizer, sampling, and the stop code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.codes import CodeFormat
from spectron.contracts import SpeechHead
from spectron.randomness import RowRandom
from spectron.ranges import CountOrZero, NonNegative, checks_ranges
from spectron.tokenizers.tokenizer import SpeechTokenizer, keep_fingerprint


@checks_ranges
@dataclass
class Sampling:
    """Settings of the choice of the next code in decoding.

    Args:
        temperature: 0 takes the most probable code; above 0, codes are sampled.
        top_k: Sample among the ``top_k`` most probable codes; 0 means all.
    """

    temperature: NonNegative = 1.0
    top_k: CountOrZero = 0


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
        self._tokenizer = [tokenizer]  # a list, so that its weights are not the head's
        self.format = tokenizer.format
        self.sampling = sampling
        keep_fingerprint(self, tokenizer.fingerprint)

    @property
    def tokenizer(self) -> SpeechTokenizer:
        """Tokenizer of the codes."""
        return self._tokenizer[0]

    def codes(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech (B, S) as codes (B, T, Q), 0 at padding, and (B,) valid frames."""
        codes, num_frames = self.tokenizer.to(waveform.device)(waveform, num_samples)
        return codes.clamp(min=0), num_frames

    def chosen(self, logits: Tensor, random: RowRandom | None) -> Tensor:
        """Choose a code (B,) from logits (B, V): the most probable, or sampled with each row's noise."""
        settings = self.sampling
        if random is None or settings.temperature <= 0:
            return logits.argmax(-1)
        if settings.top_k > 0:
            least = logits.topk(min(settings.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, float("-inf"))
        noise = -torch.log(-torch.log(random.uniform(logits.shape[-1], like=logits).clamp(1e-10, 1 - 1e-7)))
        return (logits / settings.temperature + noise).argmax(-1)


def small_table(rows: int, width: int) -> nn.Embedding:
    """Return an embedding of small random vectors, as language models have them."""
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.02)
    return table


def unless_stopping(logits: Tensor, stop: int, may_stop: Tensor | None) -> Tensor:
    """Return logits (B, V) in which rows (B,) that may not stop cannot choose the stop."""
    if may_stop is None:
        return logits
    is_stop = functional.one_hot(torch.tensor(stop, device=logits.device), logits.shape[1]).bool()
    return logits.masked_fill(is_stop & ~may_stop[:, None], NEVER)
