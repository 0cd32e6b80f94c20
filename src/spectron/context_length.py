"""Check that data and decoding fit a language model's positions, before the first training step.

The check computes upper bounds, exact to a few positions: it knows seconds and rates, not the outputs of the parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from spectron.batch import SpeechBatch, SpokenLength
from spectron.contracts import LanguageModel
from spectron.decoding import Decoding
from spectron.errors import ConfigError, DataError
from spectron.model import SpectronModel
from spectron.segments import Positions

TEXTS_AT_ONCE = 512  # texts to tokenize in one call


@runtime_checkable
class ChecksContext(Protocol):
    """A task that can check whether its data fit its language model."""

    def require_fits_context(self, data: Any, decodings: list[Decoding]) -> None:
        """Raise a ``SpectronError`` if an item of the data module, or the output of ``decodings``, is too long."""


@runtime_checkable
class StatesLengths(Protocol):
    """A data module of speech that states how long its utterances are."""

    def lengths(self, validation_only: bool = False) -> Iterable[SpokenLength]:
        """Return upper bounds of every utterance of training and validation."""


@runtime_checkable
class StatesLines(Protocol):
    """A data module that has lines of text without speech."""

    def lines(self) -> Iterable[str]:
        """Return every line of training and validation."""


@dataclass
class Need:
    """Positions that an item needs, by segment."""

    item: str
    segments: dict[str, Positions]

    @property
    def positions(self) -> int:
        """Positions of all segments, without those of texts that have not been tokenized."""
        return sum(segment.count for segment in self.segments.values())

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {segment.count}" for name, segment in self.segments.items())
        return f"{self.positions} positions ({listed})"


def longest(language_model: LanguageModel, needs: Iterable[Need]) -> Need | None:
    """Return the longest item that exceeds the language model's positions, its text tokenized; None if all fit."""
    limit = language_model.max_positions
    if limit is None:
        return None
    # A byte is at most one token, and some tokenizers put two in front. Only texts that may be too long are tokenized.
    doubtful = [
        need
        for need in needs
        if need.positions + sum(len(segment.text.encode()) + 2 for segment in need.segments.values()) > limit
    ]
    texts = [segment for need in doubtful for segment in need.segments.values() if segment.text]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[start : start + TEXTS_AT_ONCE]
        counts = language_model.tokenize([segment.text for segment in some])[1].tolist()
        for segment, count in zip(some, counts, strict=True):
            segment.count += count
    worst = max(doubtful, key=lambda need: need.positions, default=None)
    return worst if worst is not None and worst.positions > limit else None


def need_of(model: SpectronModel, length: SpokenLength, decoding: Decoding | None = None) -> Need:
    """Bound the positions of an utterance in training, or of its prompt and what ``decoding`` adds to it."""
    seconds = length.continuation_seconds
    if decoding is not None and (decoding.length == "free" or not seconds):
        seconds = decoding.max_seconds
    return Need(
        f"{length.id} ({length.prompt_seconds:.1f} s of prompt, {seconds:.1f} s of speech)",
        {name: segment.positions(length, decoding) for name, segment in model.segments.items()},
    )


def require_fits_context(
    model: SpectronModel, lengths: Iterable[SpokenLength], decoding: Decoding | None = None
) -> None:
    """Refuse an utterance that needs more positions than the language model has.

    Args:
        model: The model.
        lengths: Upper bounds of the utterances.
        decoding: Check decoding after the prompts with these settings; None checks training on the utterances.

    Raises:
        DataError: in training, naming the longest utterance, its positions and the cures.
        ConfigError: in decoding, with the key ``decoding``, and the same content.
    """
    need = longest(model.language_model, (need_of(model, length, decoding) for length in lengths))
    if need is None:
        return
    said = f"{need.item} needs {need}, but the language model has {model.language_model.max_positions}."
    larger = "use an encoder with fewer steps per second or a language model with more positions"
    if decoding is None:
        raise DataError(f"utterance {said} Lower the data's max_seconds, raise the head's frames_per_step, or {larger}")
    limits = ", ".join(limit for segment in need.segments.values() for limit in segment.limits)
    raise ConfigError(f"{said} Lower {limits} or the length of the prompt, or {larger}", key="decoding")


def require_lines_fit_context(language_model: LanguageModel, lines: Iterable[str]) -> None:
    """Refuse a line of text that needs more positions than the language model has.

    Raises:
        DataError: naming the longest line by its beginning.
    """
    named = ((line[:60] + "..." * (len(line) > 60), line) for line in lines)
    need = longest(language_model, (Need(name, {"text": Positions(1, line)}) for name, line in named))
    if need is not None:
        raise DataError(
            f"the line {need.item!r} needs {need.positions} positions, but the language model has "
            f"{language_model.max_positions}. Break long lines, or use a language model with more positions"
        )


def lengths_of(model: SpectronModel, batch: SpeechBatch) -> list[SpokenLength]:
    """Return the lengths of the rows of a batch; reading them waits for the device."""
    prompts = (batch.prompt_num_samples / model.prompt_rate_hz).tolist()
    continuations = (batch.continuation_num_samples / model.speech_rate_hz).tolist()
    texts = zip(batch.prompt_text, batch.continuation_text, strict=True)
    return [SpokenLength(*row) for row in zip(batch.ids, prompts, continuations, texts, strict=True)]
