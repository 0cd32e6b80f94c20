"""Spoken language model: a language model over a sequence of segments, a speech head and a vocoder.

Spectron is the sequence of a prompt's features, a text, and speech (arXiv 2305.15255, section 3). This module does not
import lightning: inference needs no trainer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig
from spectron.audio.speech_format import SpeechFormat
from spectron.batch import Continuation, LossTerm, Prompts, SpeechBatch, SpeechScores
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, SpokenLanguageModel, Vocoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.generation import DecodingState
from spectron.ranges import checks_ranges
from spectron.segments import Parts, Segment, SequenceSettings, Stretch, read
from spectron.segments.speech import held_to

SEQUENCE = SequenceSettings()
T = TypeVar("T", LossTerm, Tensor)


@dataclass
class TeacherForced:
    """Segments of a batch read from the true past: inputs and hidden states (B, L, D) at their positions, by name."""

    stretches: dict[str, Stretch]
    hidden: dict[str, Tensor]


@checks_ranges
class SpectronModel(nn.Module, SpokenLanguageModel):
    """Spoken language model with four parts, and the segments of its sequence.

    It checks how the parts fit together, once, in the constructor. ``spectron.conformance`` examines each part, and
    ``spectron.context_length`` checks whether data fit the language model's positions. ``forward`` checks nothing, and
    never waits for the device.

    Args:
        encoder: Speech encoder of the prompt; None for a sequence that needs none.
        language_model: Language model that reads the sequence.
        head: Speech head; the model builds it with the language model's ``hidden_size``.
        vocoder: Vocoder; the model builds it with the head's ``format``.
        sequence: Segments of the sequence.

    Raises:
        ConfigError: if the parts do not fit each other, or a segment refuses them.
    """

    def __init__(
        self,
        encoder: SpeechEncoder | None,
        language_model: LanguageModel,
        head: Callable[[int], SpeechHead],
        vocoder: Callable[[SpeechFormat], Vocoder],
        sequence: SequenceSettings = SEQUENCE,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.language_model = language_model
        self.parts = Parts(encoder, language_model, head)
        self.settings = sequence
        self.sequence = nn.ModuleDict(sequence.build(self.parts))
        self.head = self.parts.head
        given = getattr(self.head, "format", None)
        if not isinstance(given, SpeechFormat):
            message = f"{type(self.head).__name__} sets no `format`. Set self.format to the format of its targets"
            raise ConfigError(message, key="head")
        self.vocoder = vocoder(given)
        self.vocoder.requires_grad_(False)  # no loss of this model depends on it
        if self.vocoder.format != given:
            raise ConfigError(
                f"{type(self.vocoder).__name__} takes {self.vocoder.format}, but {type(self.head).__name__} gives "
                f"{given}. Give the head the vocoder's settings (model.head.init_args.mel), or use another vocoder",
                key="vocoder",
            )
        self.prompt_rate_hz = self.parts.prompt_rate_hz
        self.speech_rate_hz = given.sample_rate_hz

    @property
    def segments(self) -> dict[str, Segment]:
        """Segments by name, in the order of the sequence."""
        return cast(dict[str, Segment], dict(self.sequence.items()))

    def forward(self, batch: SpeechBatch) -> TeacherForced:
        """Read the sequence of a batch from the true past."""
        segments = self.segments
        stretches = {name: segment(batch) for name, segment in segments.items()}
        if self.training and any(segment.reads_twice for segment in segments.values()):
            with torch.no_grad():
                hidden = self.read(stretches)
            stretches = {name: segments[name].second_reading(stretches[name], hidden[name]) for name in segments}
        return TeacherForced(stretches, self.read(stretches))

    def read(self, stretches: dict[str, Stretch]) -> dict[str, Tensor]:
        """Read stretches as one sequence, and return the hidden states (B, L, D) at the positions of each."""
        return dict(zip(stretches, read(self.language_model, list(stretches.values())), strict=True))

    def losses(self, predicted: TeacherForced, optional: Collection[str] = ()) -> dict[str, LossTerm]:
        """Compute the losses of all segments, and those of the ``optional`` losses that a segment has."""
        return added(
            segment.losses(predicted.stretches[name], predicted.hidden[name], optional)
            for name, segment in self.segments.items()
        )

    @torch.inference_mode()
    def score_speech(self, batch: SpeechBatch) -> SpeechScores:
        """Compute the scores of each row alone; see ``ScoresSpeech``."""
        predicted, none = self(batch), torch.zeros(len(batch.ids), device=batch.prompt.device)
        scores: list[dict[str, Tensor]] = [
            segment.scores(predicted.stretches[name], predicted.hidden[name]) for name, segment in self.segments.items()
        ]
        absent: dict[str, Any] = dict.fromkeys(SpeechScores.__dataclass_fields__, none)
        return SpeechScores(**absent | added(scores))

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Decode the sequence of every prompt of a batch, segment by segment, and make its speech audible.

        Raises:
            ConfigError: if ``decoding`` asks for a reference that the prompts lack, or no segment speaks.
        """
        clock = {"": time.perf_counter()}
        state = self.decode(prompts, decoding, clock)
        spoken = state.speech
        if spoken is None:
            raise ConfigError("no segment of this sequence speaks: none of them sets `state.speech`", key="sequence")
        waveform, num_samples = self.vocoder(spoken.content, spoken.num_frames)
        clock["vocode"] = time.perf_counter()
        return Continuation(
            **said(prompts, state, clock),
            waveform=waveform,
            num_samples=held_to(spoken.reference, num_samples),
            sample_rate_hz=self.speech_rate_hz,
            stopped=spoken.stopped,
            mel=spoken.content if isinstance(self.head.format, MelConfig) else None,
            num_frames=spoken.num_frames,
        )

    def decode(self, prompts: Prompts, decoding: Decoding, clock: dict[str, float]) -> DecodingState:
        """Decode the sequence of every prompt, segment by segment; ``clock`` gets the time at the end of each."""
        state = DecodingState(self.language_model, len(prompts.ids), prompts.waveform.device)
        for name, segment in self.segments.items():
            segment.decode(state, prompts, decoding)
            clock[name] = time.perf_counter()
        return state

    def writes_text(self, decoding: Decoding) -> bool:
        """Return whether a segment gives text."""
        return any(segment.writes_text(decoding) for segment in self.segments.values())


def said(prompts: Prompts, state: DecodingState, clock: dict[str, float]) -> dict[str, Any]:
    """Return the fields of ``Continuation`` about texts and seconds; ``clock`` has the times at the ends of stages."""
    return {
        "ids": prompts.ids,
        "text": state.texts.whole,
        "transcript": state.texts.transcript,
        "continuation_text": state.texts.continuation,
        "text_stopped": state.texts.stopped,
        "timings": {after: clock[after] - clock[before] for before, after in pairwise(clock)},
    }


def added(found: Iterable[dict[str, T]]) -> dict[str, T]:
    """Return all entries of several dicts; those of one name are added up."""
    total: dict[str, T] = {}
    for entries in found:
        total |= {name: total[name] + value if name in total else value for name, value in entries.items()}
    return total
