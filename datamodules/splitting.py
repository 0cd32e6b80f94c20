"""Split of an utterance, and of its words, into prompt and continuation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from spectron.batch import Word
from spectron.errors import ConfigError
from spectron.ranges import Seconds, checks_ranges


@checks_ranges
@dataclass
class Splitting:
    """Rules for the cut between prompt and continuation.

    Args:
        prompt_seconds: Duration of the prompt: a number, or a range ``[low, high]`` of which it is drawn at every use.
        word_boundary: Whether to move the cut to the nearest place between two words.
        min_continuation_seconds: Shortest continuation; utterances that are too short for it are left out.
        require_words: Whether to refuse utterances without word times. If False, the texts of both sides of such an
            utterance are empty, because they are unknown.
    """

    prompt_seconds: Seconds | tuple[Seconds, Seconds] = 3.0
    word_boundary: bool = False
    min_continuation_seconds: Seconds = 1.0
    require_words: bool = True

    def __post_init__(self) -> None:
        low, high = self.bounds
        if low > high:
            raise ConfigError(f"must be [low, high] with low <= high, got {self.prompt_seconds}", key="prompt_seconds")

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the shortest and the longest prompt in seconds."""
        if isinstance(self.prompt_seconds, Sequence):
            low, high = self.prompt_seconds
            return low, high
        return self.prompt_seconds, self.prompt_seconds

    def allows(self, seconds: float, words: Sequence[Word] | None) -> bool:
        """Return whether an utterance is long enough for a prompt and a continuation."""
        latest = seconds - self.min_continuation_seconds
        return latest >= self.bounds[0] and (
            not self.word_boundary or any(begin <= latest for begin, _ in _gaps(words or ()))
        )

    def cut_at(self, seconds: float, words: Sequence[Word] | None, seed: int) -> float:
        """Return the time of the cut in seconds; the seed draws it if the prompt has a range."""
        low, high = self.bounds
        latest = seconds - self.min_continuation_seconds
        wanted = random.Random(seed).uniform(low, min(high, latest)) if low < high else low
        if not self.word_boundary:
            return wanted
        places = [min(max(wanted, begin), end, latest) for begin, end in _gaps(words or ()) if begin <= latest]
        return min(places, key=lambda place: abs(place - wanted))


def _gaps(words: Sequence[Word]) -> list[tuple[float, float]]:
    """Return begin and end of the gaps between words in seconds; adjacent words have an empty gap."""
    return [(left.end, max(left.end, right.begin)) for left, right in pairwise(words)]


def split_words(words: Sequence[Word], at: float) -> tuple[list[Word], list[Word]]:
    """Return the words before and after a cut, with times on their side; the middle of a word decides its side."""
    count = sum((word.begin + word.end) / 2 < at for word in words)
    return list(words[:count]), [Word(word.text, word.begin - at, word.end - at) for word in words[count:]]


def text_of(words: Sequence[Word]) -> str:
    """Return the words as a transcript."""
    return " ".join(word.text for word in words)
