"""Where an utterance is cut into a prompt and its continuation, and which words fall on which side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from spectron.batch import Word
from spectron.errors import ConfigError


@dataclass
class Splitting:
    """How utterances are cut in two.

    Args:
        prompt_seconds: Length of the prompt: a number, or ``[low, high]`` between which it is drawn anew each time.
        word_boundary: Move the cut to the nearest place between two words.
        min_continuation_seconds: Shorter continuations are not used.
        require_words: Refuse utterances without word times. Without them the transcripts of both halves are unknown: if False they
            are empty.
    """

    prompt_seconds: float | tuple[float, float] = 3.0
    word_boundary: bool = False
    min_continuation_seconds: float = 1.0
    require_words: bool = True

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not 0 < low <= high:
            raise ConfigError(
                f"must be above 0, or [low, high] with low <= high, got {self.prompt_seconds}", key="prompt_seconds"
            )
        if self.min_continuation_seconds <= 0:
            raise ConfigError(f"must be above 0, got {self.min_continuation_seconds}", key="min_continuation_seconds")

    @property
    def bounds(self) -> tuple[float, float]:
        """Shortest and longest prompt asked for, in seconds."""
        if isinstance(self.prompt_seconds, Sequence):
            low, high = self.prompt_seconds
            return low, high
        return self.prompt_seconds, self.prompt_seconds

    def allows(self, seconds: float, words: Sequence[Word] | None) -> bool:
        """Whether an utterance is long enough for a prompt and a continuation."""
        latest = seconds - self.min_continuation_seconds
        return latest >= self.bounds[0] and (
            not self.word_boundary or any(begin <= latest for begin, _ in _gaps(words or ()))
        )

    def cut_at(self, seconds: float, words: Sequence[Word] | None, seed: int) -> float:
        """Where an utterance is cut, in seconds; the seed draws the length where a range is given."""
        low, high = self.bounds
        latest = seconds - self.min_continuation_seconds
        wanted = random.Random(seed).uniform(low, min(high, latest)) if low < high else low
        if not self.word_boundary:
            return wanted
        places = [min(max(wanted, begin), end, latest) for begin, end in _gaps(words or ()) if begin <= latest]
        return min(places, key=lambda place: abs(place - wanted))


def _gaps(words: Sequence[Word]) -> list[tuple[float, float]]:
    """The stretches between words, in seconds: empty ones too, where words touch."""
    return [(left.end, max(left.end, right.begin)) for left, right in pairwise(words)]


def split_words(words: Sequence[Word], at: float) -> tuple[list[Word], list[Word]]:
    """The words on both sides of a cut, each with its times there: a word belongs to the side on which its middle lies."""
    count = sum((word.begin + word.end) / 2 < at for word in words)
    return list(words[:count]), [Word(word.text, word.begin - at, word.end - at) for word in words[count:]]


def text_of(words: Sequence[Word]) -> str:
    """Words as a transcript."""
    return " ".join(word.text for word in words)
