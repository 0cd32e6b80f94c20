"""Check that data and decoding fit a language model's positions, before the first training step.

The check computes upper bounds, exact to a few positions: it knows seconds and rates, not the outputs of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from spectron.batch import SpeechBatch, SpokenLength
from spectron.contracts import FILLER_TOKENS, Decoding, LanguageModel
from spectron.errors import ConfigError, DataError
from spectron.model import SpectronModel

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
    """Positions that an item needs: ``prompt`` and ``speech`` steps, its ``text``, and ``tokens`` besides that text."""

    item: str
    prompt: int = 0
    speech: int = 0
    text: str = ""
    tokens: int = 0

    @property
    def positions(self) -> int:
        """Positions without ``text``; one more starts the text."""
        return self.prompt + 1 + self.tokens + self.speech

    def __str__(self) -> str:
        return f"{self.positions} positions (prompt {self.prompt}, text {self.tokens + 1}, speech {self.speech})"


def longest(language_model: LanguageModel, needs: Iterable[Need]) -> Need | None:
    """Return the longest item that exceeds the language model's positions, its text tokenized; None if all fit."""
    limit = language_model.max_positions
    if limit is None:
        return None
    # A byte is at most one token, and some tokenizers put two in front. Only texts that may be too long are tokenized.
    doubtful = [need for need in needs if need.positions + len(need.text.encode()) + 2 > limit]
    for start in range(0, len(doubtful), TEXTS_AT_ONCE):
        some = doubtful[start : start + TEXTS_AT_ONCE]
        counts = language_model.tokenize([need.text for need in some])[1].tolist()
        for need, count in zip(some, counts, strict=True):
            need.tokens += count
    worst = max(doubtful, key=lambda need: need.positions, default=None)
    return worst if worst is not None and worst.positions > limit else None


def need_of(model: SpectronModel, length: SpokenLength, decoding: Decoding | None = None) -> Need:
    """Bound the positions of an utterance in training, or of its prompt and what ``decoding`` adds to it."""
    seconds, written, fillers = length.continuation_seconds, 0, FILLER_TOKENS
    if decoding is not None:
        written, fillers = decoding.max_text_tokens, decoding.filler_tokens
        if decoding.length == "free" or not seconds:
            seconds = decoding.max_seconds
    chain = model.chain if decoding is None else model.chain_of(decoding)
    frames = math.ceil(seconds * model.head.mel.frame_rate_hz) + 1 if seconds else 0
    has_text = chain == "given" or (chain == "written" and decoding is None)
    return Need(
        f"{length.id} ({length.prompt_seconds:.1f} s of prompt, {seconds:.1f} s of speech)",
        prompt=math.ceil(length.prompt_seconds * model.encoder.frame_rate_hz) + 1,
        speech=math.ceil(frames / model.head.frames_per_step),
        text=model.text_separator.join(length.texts) if has_text else "",
        tokens={"written": written, "filler": fillers}.get(chain, 0),
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
    text = {"written": "max_text_tokens, ", "filler": "filler_tokens, "}.get(model.chain_of(decoding), "")
    raise ConfigError(f"{said} Lower {text}max_seconds or the length of the prompt, or {larger}", key="decoding")


def require_lines_fit_context(language_model: LanguageModel, lines: Iterable[str]) -> None:
    """Refuse a line of text that needs more positions than the language model has.

    Raises:
        DataError: naming the longest line by its beginning.
    """
    need = longest(language_model, (Need(line[:60] + "..." * (len(line) > 60), text=line) for line in lines))
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
