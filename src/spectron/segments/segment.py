"""Contract of a segment, and the teacher-forced reading of several segments as one sequence.

    positions:   [ features of the prompt (U) | sos, text (N) | eos, speech steps (K - 1) ]
    predicts:                                   text, eos       speech steps (K)

A generated segment begins with the token that starts it, so the hidden states at its own positions predict its targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from spectron.audio.speech_format import SpeechFormat
from spectron.batch import LossTerm, Prompts, SpeechBatch, SpokenLength
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead
from spectron.decoding import Decoding
from spectron.generation import DecodingState, visibility
from spectron.segments.places import Places


@dataclass
class Parts:
    """Parts of a model that its segments share. The model owns their parameters, so this is no module.

    Args:
        encoder: Speech encoder of the prompt; None for a sequence that needs none.
        language_model: Language model that reads the sequence.
        make_head: Builds the speech head with the language model's ``hidden_size``.
    """

    encoder: SpeechEncoder | None
    language_model: LanguageModel
    make_head: Callable[[int], SpeechHead]

    @cached_property
    def head(self) -> SpeechHead:
        """Speech head, built when the first segment asks for it."""
        return self.make_head(self.language_model.hidden_size)

    @property
    def prompt_rate_hz(self) -> int:
        """Sample rate of the prompts: the encoder's, or without one that of the speech."""
        return self.head.format.sample_rate_hz if self.encoder is None else self.encoder.sample_rate_hz


@dataclass
class Stretch:
    """Teacher-forced inputs of a segment: ``embeddings`` (B, L, D), of which ``valid`` (B, L) count.

    A segment with losses returns a subclass that adds what the losses need: tensors and lists with the axis B first, or
    dataclasses of these. Positions of a ``bidirectional`` stretch see each other in both directions, as in a prefix LM.
    """

    embeddings: Tensor
    valid: Tensor
    bidirectional: bool = field(default=False, kw_only=True)


@dataclass
class Positions:
    """Upper bound of the positions that a segment takes.

    Args:
        count: Positions besides the tokens of ``text``.
        text: Text whose tokens take one position each.
        limits: Keys of ``decoding`` that bound the segment, for error messages.
    """

    count: int
    text: str = ""
    limits: tuple[str, ...] = ()


class Segment(nn.Module, ABC):
    """Segment of the sequence of a spoken language model. Built as ``Segment(parts, ...)``.

    Attributes:
        trained_losses: Names of the losses that training minimises, each with its weight; others are only logged.
        optional_losses: Names of the losses that are computed only if they are asked for.
        reads_twice: Whether training reads the sequence a second time, after ``second_reading``.
        reads: Formats of the codes of other stages that it needs in decoding, by stage.
    """

    trained_losses: tuple[str, ...] = ()
    optional_losses: tuple[str, ...] = ()
    reads_twice: bool = False
    reads: Mapping[str, SpeechFormat] = MappingProxyType({})

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts

    @abstractmethod
    def forward(self, batch: SpeechBatch) -> Stretch:
        """Return the inputs of this segment in training: start token, if any, and true past."""

    @abstractmethod
    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Append this segment to the sequence decoded so far; its output goes to ``state.texts`` or ``state.speech``.

        Raises:
            ConfigError: with the key ``decoding.text`` or ``decoding.length``, if the prompts lack a reference.
        """

    @abstractmethod
    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the positions of this segment in training, or in ``decoding`` after a prompt of this length."""

    def losses(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> dict[str, LossTerm]:
        """Compute losses of the hidden states (B, L, D) at the positions of ``stretch``, and its ``optional`` ones."""
        return {}

    def loss_names(self) -> set[str]:
        """Return the names of all losses, optional ones included."""
        return set()

    def scores(self, stretch: Stretch, hidden: Tensor) -> dict[str, Tensor]:
        """Compute fields of ``SpeechScores``, each (B,)."""
        return {}

    def places(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> Places:
        """Describe the positions of ``stretch``, with those losses of ``losses`` that are sums over positions."""
        return Places()

    def second_reading(self, stretch: Stretch, hidden: Tensor) -> Stretch:
        """Return the inputs of the second reading in training, given the hidden states (B, L, D) of the first one."""
        return stretch

    def spectrogram(self, stretch: Stretch, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the log-mel (B, T, M) that the hidden states predict and its (B,) frames; None if there is none."""
        return None

    def writes_text(self, decoding: Decoding) -> bool:
        """Return whether this segment gives text."""
        return False


class Context(Segment):
    """Segment that is given, in training as in decoding, and has no loss."""

    @abstractmethod
    def given(self, prompts: Prompts) -> Stretch:
        """Return the inputs of this segment."""

    def forward(self, batch: SpeechBatch) -> Stretch:
        """Return the inputs of this segment in training."""
        return self.given(batch.prompts)

    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Append the inputs to the sequence decoded so far."""
        stretch = self.given(prompts)
        state.extend(stretch.embeddings, stretch.valid, stretch.bidirectional)


def read(language_model: LanguageModel, stretches: Sequence[Stretch]) -> tuple[Tensor, ...]:
    """Read stretches as one sequence, and return the hidden states (B, L, D) at the positions of each."""
    widths = [stretch.valid.shape[1] for stretch in stretches]
    valid = torch.cat([stretch.valid for stretch in stretches], dim=1)
    attention_mask, begin = visibility(valid, valid.shape[1]), 0
    for stretch, width in zip(stretches, widths, strict=True):
        if stretch.bidirectional:
            places = slice(begin, begin + width)
            attention_mask[:, places, places] = visibility(stretch.valid, width, bidirectional=True)
        begin += width
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    inputs = torch.cat([stretch.embeddings for stretch in stretches], dim=1)
    hidden, _ = language_model(inputs, attention_mask, positions)
    return hidden.split(widths, dim=1)
