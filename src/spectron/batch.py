"""Batches and results that the parts exchange: plain dataclasses, which Lightning can move to a device.

Axes: B batch, S samples, U encoder steps, N text tokens, T mel frames, K speech steps of r frames each, M mel bands,
D width.
Lengths are integer tensors of shape (B,), computed by the part that computed the tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeVar

from torch import Tensor


class Word(NamedTuple):
    """A word, and the seconds in which it is spoken."""

    text: str
    begin: float
    end: float


@dataclass
class Prompts:
    """Spoken prompts: ``waveform`` (B, S) zero-padded, ``num_samples`` (B,), one id per row (it seeds its sampling).

    The reference is for decoding that has to follow it: ``texts`` are the true transcript and continuation of each row,
    and ``speech_num_samples`` (B,) is the length of the true continuation at the system's ``speech_rate_hz``, 0 for a
    row without one.

    ``stages`` holds what earlier stages of a chain have spoken, by their names: codes (B, T, Q) and (B,) valid frames.
    """

    ids: list[str]
    waveform: Tensor
    num_samples: Tensor
    texts: list[tuple[str, str]] | None = None
    speech_num_samples: Tensor | None = None
    stages: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass
class SpeechBatch:
    """Spoken prompts and their continuations.

    ``prompt`` (B, S) is at the encoder's sample rate, ``continuation`` (B, S') at the speech head's. ``answers`` are
    the accepted answers of a spoken question (an empty list for plain continuation). ``splits`` names the split of each
    row, if validation covers several. ``continuation_words`` are the continuation's words and their times in it (an
    empty list if the data lack them). ``skipped`` names the utterances of this batch that could not be read.
    """

    ids: list[str]
    prompt: Tensor
    prompt_num_samples: Tensor
    prompt_text: list[str]
    continuation: Tensor
    continuation_num_samples: Tensor
    continuation_text: list[str]
    speakers: list[str] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    continuation_words: list[list[Word]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def prompts(self) -> Prompts:
        """Prompts for inference, with the reference that ``Decoding`` may ask for."""
        texts = list(zip(self.prompt_text, self.continuation_text, strict=True))
        return Prompts(self.ids, self.prompt, self.prompt_num_samples, texts, self.continuation_num_samples)


@dataclass
class SpokenLength:
    """Length of an utterance: both parts in seconds and their texts; a word may be in either text."""

    id: str
    prompt_seconds: float
    continuation_seconds: float = 0.0
    texts: tuple[str, str] = ("", "")


@dataclass
class SpeechTargets:
    """Training targets of a speech head.

    ``steps`` (B, K, F) holds one vector per decoding step with ``num_steps`` (B,) valid; ``num_frames`` (B,) counts the
    frames of the head's format. ``mel`` (B, T, M) is the same speech as a spectrogram, None for another format.
    """

    steps: Tensor
    num_steps: Tensor
    num_frames: Tensor
    mel: Tensor | None = None


Targets = TypeVar("Targets", bound=SpeechTargets)


def row_of(targets: Targets, row: int) -> Targets:
    """Return one row as a batch of one, with its padding and the fields of a subclass of ``SpeechTargets``."""
    columns = {column.name: getattr(targets, column.name) for column in fields(targets)}
    one: dict[str, Any] = {name: values[row : row + 1] for name, values in columns.items() if values is not None}
    return replace(targets, **one)


@dataclass
class SpeechScores:
    """Scores of the text and the speech of each row after its prompt: sums and their counts, each (B,).

    ``text_nats`` is the negative log-likelihood of the whole text, ``text_tokens`` its tokens, end token included.
    ``speech_loss`` is the speech head's weighted loss of the continuation, each step predicted from the true past, and
    ``speech_frames`` its frames.

    They give two scores of a candidate, higher for the more probable one: ``-text_nats / text_tokens`` and
    ``-speech_loss / speech_frames``. The second is a convention of this project, for speech without a likelihood. The
    two have different units and are never mixed.
    """

    text_nats: Tensor
    text_tokens: Tensor
    speech_loss: Tensor
    speech_frames: Tensor


@dataclass
class Continuation:
    """Output of a spoken language model for ``Prompts``, row by row.

    ``text`` is the whole text that the model wrote or had to speak (see ``Decoding.text``). ``transcript`` and
    ``continuation_text`` are its two halves, or None if no mark separates them or there is no text. ``waveform`` (B, S)
    has ``num_samples`` (B,) valid at ``sample_rate_hz``. ``stopped`` (B,) is True for rows that were not cut off: the
    model stopped, or the row has the length of its reference. ``mel`` (B, T, M) with ``num_frames`` (B,) is the
    spectrogram before the vocoder, None for a system without one. ``timings`` are seconds per stage of the batch.
    ``text_stopped`` (B,) is True for texts that the model ended itself, before ``Decoding.max_text_tokens``; None for a
    system that writes no text.
    """

    ids: list[str]
    text: list[str]
    transcript: list[str] | None
    continuation_text: list[str] | None
    waveform: Tensor
    num_samples: Tensor
    sample_rate_hz: int
    stopped: Tensor
    mel: Tensor | None = None
    num_frames: Tensor | None = None
    timings: dict[str, float] = field(default_factory=dict)
    text_stopped: Tensor | None = None


@dataclass
class LossTerm:
    """A loss as a sum and a count, so that batches and ranks add up before the one division."""

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Sum over count; 0 if the count is 0."""
        return self.total / self.count.clamp(min=1)

    def __add__(self, other: LossTerm) -> LossTerm:
        """Return the loss of both."""
        return LossTerm(self.total + other.total, self.count + other.count)


def select(batch: SpeechBatch, rows: list[int]) -> SpeechBatch:
    """Return some rows of a batch, in the given order."""
    taken: dict[str, Any] = {}
    for column in fields(batch):
        value = getattr(batch, column.name)
        if isinstance(value, Tensor):
            taken[column.name] = value[rows]
        elif column.name != "skipped" and value:  # an empty list means that the data have no such column
            taken[column.name] = [value[row] for row in rows]
    return replace(batch, **taken)


def row_alone(batch: SpeechBatch, row: int) -> SpeechBatch:
    """Return one row as a batch of one without padding."""
    one = select(batch, [row])
    one.prompt = one.prompt[:, : int(one.prompt_num_samples[0])]
    one.continuation = one.continuation[:, : int(one.continuation_num_samples[0])]
    return one


def unpadded(padded: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return the rows of a padded tensor (B, L, ...) without their padding."""
    return [row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)]


def with_reference(batch: SpeechBatch) -> SpeechBatch:
    """Return the rows of a batch that have a recorded continuation."""
    return select(batch, batch.continuation_num_samples.nonzero()[:, 0].tolist())
