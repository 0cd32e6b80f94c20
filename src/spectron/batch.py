"""What travels between the parts: plain dataclasses (Lightning moves them to a device, and refuses frozen ones).

Axes: B batch, S samples, U encoder steps, N text tokens, T mel frames, K speech steps of r frames each, M mel bands, D width.
Lengths are integer tensors of shape (B,), made by whatever made the tensor that they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeVar

from torch import Tensor


class Word(NamedTuple):
    """A word and when it is spoken, in seconds."""

    text: str
    begin: float
    end: float


@dataclass
class Prompts:
    """Spoken prompts: ``waveform`` (B, S) zero-padded, ``num_samples`` (B,), one id a row (it also seeds that row's sampling).

    The reference, for decoding that is held to it: ``texts``, the true transcript and continuation of each row, and
    ``speech_num_samples`` (B,), the length of the true continuation at the system's ``speech_rate_hz``, 0 for a row that has none.
    """

    ids: list[str]
    waveform: Tensor
    num_samples: Tensor
    texts: list[tuple[str, str]] | None = None
    speech_num_samples: Tensor | None = None


@dataclass
class SpeechBatch:
    """Spoken prompts with what follows them.

    ``prompt`` (B, S) is at the encoder's sample rate and ``continuation`` (B, S') at the speech head's. ``answers`` holds the
    accepted answers of a spoken question (an empty list for plain continuation). ``splits`` says which part of the data each row is
    from, where validation covers several. ``continuation_words`` are the continuation's words and their times in it (an empty list
    where the data do not tell them). ``skipped`` names the utterances that belonged to this batch and could not be read.
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
        """The part that a model is given at inference, and the reference that ``Decoding`` may hold it to."""
        texts = list(zip(self.prompt_text, self.continuation_text, strict=True))
        return Prompts(self.ids, self.prompt, self.prompt_num_samples, texts, self.continuation_num_samples)


@dataclass
class SpokenLength:
    """How long an utterance is in a batch: its two parts in seconds, and the texts of both (which side a word falls on is no matter)."""

    id: str
    prompt_seconds: float
    continuation_seconds: float = 0.0
    texts: tuple[str, str] = ("", "")


@dataclass
class SpeechTargets:
    """What a speech head learns to produce.

    ``steps`` (B, K, F) holds one vector a decoding step with ``num_steps`` (B,) valid; ``mel`` (B, T, M) and ``num_frames`` (B,)
    are the same speech as a spectrogram, for pictures and vocoders.
    """

    steps: Tensor
    num_steps: Tensor
    mel: Tensor
    num_frames: Tensor


@dataclass
class TeacherForced:
    """What the model predicts when it is given the true past.

    ``text_logits`` (B, N + 1, V) against ``text_targets`` (B, N + 1), valid where ``text_valid``; ``speech_hidden`` (B, K, D) against
    ``speech_targets``. ``prefix`` (B, U, D) is the projected prompt with ``prefix_steps`` (B,) valid.
    """

    prefix: Tensor
    prefix_steps: Tensor
    text_logits: Tensor
    text_targets: Tensor
    text_valid: Tensor
    speech_hidden: Tensor
    speech_targets: SpeechTargets


Rows = TypeVar("Rows", TeacherForced, SpeechTargets)


def row_of(batch: Rows, row: int) -> Rows:
    """One row as a batch of one, its padding included; also of what a head of one's own adds to ``SpeechTargets``."""

    def one(value: Any) -> Any:
        return row_of(value, row) if isinstance(value, SpeechTargets) else value[row : row + 1]

    return replace(batch, **{column.name: one(getattr(batch, column.name)) for column in fields(batch)})


@dataclass
class SpeechScores:
    """How likely a model finds the text and the speech of each row after its prompt: sums, and what they are over, each (B,).

    ``text_nats`` is the negative log-likelihood of the whole text, ``text_tokens`` its tokens, the end token included. ``speech_loss``
    is the speech head's weighted loss of the continuation, every step predicted from the true past, and ``speech_frames`` its mel frames.

    Two scores of a candidate follow, higher for the likelier: ``-text_nats / text_tokens`` and ``-speech_loss / speech_frames``. The
    second is a convention of ours, for speech without a likelihood; the two have different units and are never mixed.
    """

    text_nats: Tensor
    text_tokens: Tensor
    speech_loss: Tensor
    speech_frames: Tensor


@dataclass
class Continuation:
    """What a spoken language model answers to ``Prompts``, row by row.

    ``text`` is all that the model wrote (or was given to speak, see ``Decoding.chain``); ``transcript`` and ``continuation_text``
    are its two halves, or None for a model that puts no mark between them or had no text. ``waveform`` (B, S) has ``num_samples``
    (B,) valid at ``sample_rate_hz``; ``mel`` (B, T, M) has ``num_frames`` (B,). ``stopped`` (B,) tells which rows were not cut off:
    they ended by themselves, or with their reference where ``Decoding.length`` asks for that. ``timings`` are seconds per stage of
    the batch.
    """

    ids: list[str]
    text: list[str]
    transcript: list[str] | None
    continuation_text: list[str] | None
    waveform: Tensor
    num_samples: Tensor
    sample_rate_hz: int
    mel: Tensor
    num_frames: Tensor
    stopped: Tensor
    timings: dict[str, float] = field(default_factory=dict)


@dataclass
class LossTerm:
    """A loss as a sum and the number of things summed, so that batches and ranks add up before the one division."""

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Sum over count; zero where nothing was counted."""
        return self.total / self.count.clamp(min=1)


def select(batch: SpeechBatch, rows: list[int]) -> SpeechBatch:
    """Some rows of a batch, in the order given."""
    taken: dict[str, Any] = {}
    for column in fields(batch):
        value = getattr(batch, column.name)
        if isinstance(value, Tensor):
            taken[column.name] = value[rows]
        elif column.name != "skipped" and value:  # an empty list says that the data has no such column
            taken[column.name] = [value[row] for row in rows]
    return replace(batch, **taken)


def unpadded(padded: Tensor, lengths: Tensor) -> list[Tensor]:
    """Rows of a padded tensor (B, L, ...) without their padding."""
    return [row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)]


def with_reference(batch: SpeechBatch) -> SpeechBatch:
    """The rows of a batch that have a recording of what followed."""
    return select(batch, batch.continuation_num_samples.nonzero()[:, 0].tolist())
