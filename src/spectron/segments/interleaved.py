"""Segment of text and speech in turn: so many tokens, so many steps, until the text has ended; then speech alone.

    positions:  [ sos, t1 | eos, s1, s2 | t2, t3 | s3, s4, s5 | ... ]    two tokens, three steps in turn
    predicts:     t1, t2    s1, s2, s3    t3, eos  s4, s5, s6

The two streams are those of ``Text`` and ``Speech``; only their order differs (SLED-TTS, arXiv:2505.13181;
LLaMA-Omni 2, arXiv:2505.02625).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from spectron.batch import LossTerm, Prompts, SpeechBatch, SpokenLength
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.generation import DecodingState, Writing
from spectron.ranges import Count, Proportion, checks_ranges
from spectron.segments.places import Places
from spectron.segments.segment import Parts, Positions, Segment, Stretch
from spectron.segments.speech import Speaking, Speech
from spectron.segments.text import Text


@checks_ranges
@dataclass
class Schedule:
    """Turns of text and speech.

    Args:
        text: Tokens of a turn.
        speech: Speech steps of a turn.
    """

    text: Count = 2
    speech: Count = 10


SCHEDULE = Schedule()


@dataclass
class InterleavedStretch(Stretch):
    """Inputs of both streams; position p of the sequence is position ``order[p]`` of text and speech side by side."""

    text: Stretch
    speech: Stretch
    order: Tensor


class Interleaved(Segment):
    """Transcript and continuation, and the speech, in turn: speech begins before the text ends.

    A text that goes on after the speech is written to its end, and a row whose text has ended skips the turns of text.

    Args:
        parts: Parts of the model (supplied by the platform).
        schedule: Tokens and steps of a turn.
        separator: Text between transcript and continuation, as in ``Text``.
        scheduled_sampling: As in ``Speech``.
    """

    def __init__(
        self,
        parts: Parts,
        schedule: Schedule = SCHEDULE,
        separator: str = " ",
        scheduled_sampling: Proportion = 0.0,
    ) -> None:
        super().__init__(parts)
        self.schedule = schedule
        self.text, self.speech = Text(parts, "before", separator), Speech(parts, scheduled_sampling)
        self.reads_twice = self.speech.reads_twice

    @property
    def separator(self) -> str:
        """Text between transcript and continuation."""
        return self.text.separator

    @property
    def trained_losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """Losses of both streams."""
        return (*self.text.trained_losses, *self.speech.trained_losses)

    @property
    def optional_losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """Optional losses of the speech."""
        return self.speech.optional_losses

    def forward(self, batch: SpeechBatch) -> InterleavedStretch:
        """Return the inputs of both streams in turn."""
        return self.joined(self.text(batch), self.speech(batch))

    def joined(self, text: Stretch, speech: Stretch) -> InterleavedStretch:
        """Put two stretches in turn. Turns of a row that has no more tokens or steps hold no valid position."""
        turns, steps = self.schedule.text, self.schedule.speech
        token = torch.arange(text.valid.shape[1], device=text.valid.device)
        step = torch.arange(speech.valid.shape[1], device=text.valid.device)
        places = torch.cat(
            [
                token // turns * (turns + steps) + token % turns,
                step // steps * (turns + steps) + turns + step % steps,
            ]
        )
        order = places.argsort()
        embeddings, valid = (
            torch.cat([getattr(text, name), getattr(speech, name)], dim=1)[:, order] for name in ("embeddings", "valid")
        )
        return InterleavedStretch(embeddings, valid, text, speech, order.expand(len(valid), -1))

    def apart(self, stretch: Stretch, hidden: Tensor) -> tuple[Stretch, Tensor, Stretch, Tensor]:
        """Return the stretches of text and speech, each with its hidden states (B, L, D)."""
        known = cast(InterleavedStretch, stretch)
        back = torch.empty_like(hidden)
        back[:, known.order[0]] = hidden
        width = known.text.valid.shape[1]
        return known.text, back[:, :width], known.speech, back[:, width:]

    def second_reading(self, stretch: Stretch, hidden: Tensor) -> Stretch:
        """Replace the past steps of some rows by the predicted ones."""
        text, _, speech, states = self.apart(stretch, hidden)
        return self.joined(text, self.speech.second_reading(speech, states))

    def losses(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> dict[str, LossTerm]:
        """Compute the losses of the text and of the speech."""
        text, written, speech, spoken = self.apart(stretch, hidden)
        return self.text.losses(text, written) | self.speech.losses(speech, spoken, optional)

    def places(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> Places:
        """Describe the positions of both streams, in turn."""
        order = cast(InterleavedStretch, stretch).order[0]
        text, written, speech, spoken = self.apart(stretch, hidden)
        streams = [self.text.places(text, written, optional), self.speech.places(speech, spoken, optional)]
        rows = [[*tokens, *steps] for tokens, steps in zip(*(stream.rows for stream in streams), strict=True)]
        losses: dict[str, Tensor] = {}
        for stream, beside in zip(streams, ((0, spoken.shape[1]), (written.shape[1], 0)), strict=True):
            losses |= {name: functional.pad(values, beside)[:, order] for name, values in stream.losses.items()}
        return Places([[row[place] for place in order.tolist()] for row in rows], losses)

    def loss_names(self) -> set[str]:
        """Return the names of the losses of both streams."""
        return self.text.loss_names() | self.speech.loss_names()

    def scores(self, stretch: Stretch, hidden: Tensor) -> dict[str, Tensor]:
        """Compute the scores of the text and of the speech."""
        text, written, speech, spoken = self.apart(stretch, hidden)
        return self.text.scores(text, written) | self.speech.scores(speech, spoken)

    def spectrogram(self, stretch: Stretch, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
        """Predict the log-mel (B, T, M) from the true past, if the head's format is one."""
        _, _, speech, spoken = self.apart(stretch, hidden)
        return self.speech.spectrogram(speech, spoken)

    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Write and speak in turn, or speak while the given text is read.

        Raises:
            ConfigError: if ``decoding.text`` asks for another text than the one that is written or given.
        """
        if decoding.text not in ("trained", "given"):
            raise ConfigError(
                f"{decoding.text} is no text that this sequence can take: it writes in turn with the speech. Set it to "
                "trained or given",
                key="decoding.text",
                allowed=["trained", "given"],
            )
        texts = self.text.given(prompts) if decoding.text == "given" else None
        given = None if texts is None else self.text.stretch("given", texts.whole)
        writing, speaking = Writing(state, decoding, prompts.ids), Speaking(self.speech.head, prompts, decoding)
        inputs, read = self.speech.start(len(prompts.ids), state.keys.device), 0
        while True:
            for _ in range(self.schedule.text):
                if given is not None and read < given.valid.shape[1]:
                    state.extend(given.embeddings[:, read : read + 1], given.valid[:, read : read + 1])
                    read += 1
                elif given is None and writing.reading.any():
                    writing.step(state.extend(writing.inputs, writing.reading[:, None])[:, 0])
            for _ in range(self.schedule.speech):
                if speaking.alive.any():
                    inputs = speaking.step(state.extend(inputs, speaking.alive[:, None])[:, 0])
            text_left = writing.reading.any() if given is None else read < given.valid.shape[1]
            if not (text_left or speaking.alive.any()):
                break
        state.speech = speaking.spoken()
        state.texts = self.text.written(writing.ids(), writing.stopped) if texts is None else texts

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the positions of both streams."""
        text, speech = self.text.positions(length, decoding), self.speech.positions(length, decoding)
        return Positions(text.count + speech.count, text.text, (*text.limits, *speech.limits))

    def writes_text(self, decoding: Decoding) -> bool:
        """Return True: there is text in turn with the speech."""
        return True
