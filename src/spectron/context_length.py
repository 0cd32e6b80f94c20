"""Whether data fit a language model's positions, found out before the first step and not in the middle of a night.

What an item takes is an upper bound to within a position or two: lengths come from seconds and rates, not from the parts that will make
them. The model itself refuses what is too long all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from spectron.batch import SpokenLength
from spectron.contracts import FILLER_TOKENS, Decoding, LanguageModel
from spectron.errors import ConfigError, DataError
from spectron.model import SpectronModel

AT_A_TIME = 512  # texts tokenized in one go


@runtime_checkable
class ChecksRoom(Protocol):
    """A task that can tell whether its data fit into its language model."""

    def require_fits_context(self, data: Any, decodings: list[Decoding]) -> None:
        """Raise a ``SpectronError`` where an item of the data module, or what ``decodings`` may write, is too long."""


@runtime_checkable
class TellsLengths(Protocol):
    """A data module that tells how long its speech is."""

    def lengths(self, validation_only: bool = False) -> Iterable[SpokenLength]:
        """Every utterance of training and validation that has been read, at its extremes where its prompt is drawn."""


@runtime_checkable
class TellsLines(Protocol):
    """A data module that has lines of text alone."""

    def lines(self) -> Iterable[str]:
        """Every line of training and validation that has been read."""


@dataclass
class Room:
    """What an item takes of a model's positions: ``prompt`` steps, ``speech`` steps, and a text in which the model ends or starts.

    ``tokens`` come on top of the text's own: as many as may be written, or that stand in the text's place.
    """

    name: str
    prompt: int
    speech: int
    text: str
    tokens: int = 0

    def at_most(self) -> int:
        """Positions, if every byte of the text were a token; one more for the text's start, two for what tokenizers put in front."""
        return self.prompt + self.speech + self.tokens + len(self.text.encode()) + 3


def longest(language_model: LanguageModel, items: Iterable[Room], limit: int) -> tuple[int, int, Room] | None:
    """Positions, text tokens and the item itself of the one that takes most; None where all are sure to fit.

    Only texts that may be too long are tokenized, the likeliest first.
    """
    doubtful = sorted((item for item in items if item.at_most() > limit), key=Room.at_most, reverse=True)
    best: tuple[int, int, Room] | None = None
    for start in range(0, len(doubtful), AT_A_TIME):
        some = doubtful[start : start + AT_A_TIME]
        if best is not None and some[0].at_most() <= best[0]:
            break
        tokens = language_model.tokenize([item.text for item in some])[1].tolist()
        for item, count in zip(some, tokens, strict=True):
            positions = item.prompt + 1 + item.tokens + count + item.speech
            if best is None or positions > best[0]:
                best = positions, count, item
    return best


def require_room_for_speech(model: SpectronModel, lengths: Iterable[SpokenLength]) -> None:
    """Refuse an utterance that takes more positions than the language model has.

    Raises:
        DataError: naming the utterance, what it takes, and the cures.
    """
    limit = model.language_model.max_positions
    if limit is None:
        return
    most = longest(model.language_model, rooms(model, lengths), limit)
    if most is not None and most[0] > limit:
        positions, tokens, item = most
        raise DataError(
            f"{item.name} takes {positions} positions (prompt {item.prompt}, text {tokens + 1}, speech {item.speech}) and the language "
            f"model has {limit}: lower the data's max_seconds, raise the head's frames_per_step, or take an encoder with fewer steps a "
            "second or a language model with more positions"
        )


def require_room_for_decoding(model: SpectronModel, prompts: Iterable[SpokenLength], decoding: Decoding) -> None:
    """Refuse a decoding that may go beyond the language model's positions after one of the prompts.

    Raises:
        ConfigError: naming what the decoding is held by, and the prompt.
    """
    limit = model.language_model.max_positions
    if limit is None:
        return
    most = longest(model.language_model, (decoding_room(model, prompt, decoding) for prompt in prompts), limit)
    if most is not None and most[0] > limit:
        positions, tokens, item = most
        text = {
            "written": f"max_text_tokens={decoding.max_text_tokens}",
            "given": f"chain=given ({tokens} tokens)",
            "none": "chain=none",
            "filler": f"filler_tokens={decoding.filler_tokens}",
        }[model.chain_of(decoding)]
        raise ConfigError(
            f"decoding.{text} and {item.name} come to {positions} positions, and the language model has {limit}: lower them or the "
            "data's max_seconds, or take a language model with more positions"
        )


def decoding_room(model: SpectronModel, prompt: SpokenLength, decoding: Decoding) -> Room:
    """What a prompt and what is decoded after it take at most; the name says how long the speech may be."""
    held = decoding.length == "reference" and prompt.continuation_seconds > 0
    steps = model.prompt_steps(prompt.prompt_seconds)
    speech = speech_steps(model, prompt.continuation_seconds if held else decoding.max_seconds)
    limit = (
        f"length=reference ({prompt.continuation_seconds:.1f} s, "
        if held
        else f"max_seconds={decoding.max_seconds:g} ("
    )
    name = (
        f"decoding.{limit}{speech} steps) after a prompt of {prompt.prompt_seconds:.1f} s ({prompt.id}, {steps} steps)"
    )
    tokens = {"written": decoding.max_text_tokens, "given": 0, "none": 0, "filler": decoding.filler_tokens}[
        model.chain_of(decoding)
    ]
    return Room(
        name, steps, speech, model.text_separator.join(prompt.texts) if decoding.chain == "given" else "", tokens
    )


def require_room_for_text(language_model: LanguageModel, lines: Iterable[str]) -> None:
    """Refuse a line of text that takes more positions than the language model has.

    Raises:
        DataError: with the line's beginning.
    """
    limit = language_model.max_positions
    if limit is None:
        return
    most = longest(
        language_model,
        (Room(f"the line {line[:60] + '...' * (len(line) > 60)!r}", 0, 0, line) for line in lines),
        limit,
    )
    if most is not None and most[0] > limit:
        raise DataError(
            f"{most[2].name} takes {most[0]} positions and the language model has {limit}: break long lines, or take a language model with "
            "more positions"
        )


def speech_steps(model: SpectronModel, seconds: float) -> int:
    """Decoding steps of speech, at most."""
    frames = math.ceil(seconds * model.head.mel.frame_rate_hz) + 1 if seconds else 0
    return math.ceil(frames / model.head.frames_per_step)


def rooms(model: SpectronModel, lengths: Iterable[SpokenLength]) -> Iterator[Room]:
    """What utterances take of a model's positions."""
    for length in lengths:
        seconds = length.prompt_seconds, length.continuation_seconds
        name = f"utterance {length.id} ({seconds[0]:.1f} s of prompt, {seconds[1]:.1f} s of continuation)"
        text = model.text_separator.join(length.texts) if model.chain == "written" else ""
        tokens = FILLER_TOKENS if model.chain == "filler" else 0
        yield Room(name, model.prompt_steps(seconds[0]), speech_steps(model, seconds[1]), text, tokens)
