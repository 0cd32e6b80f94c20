"""Settings of the sequence of a spoken language model: which segments there are, in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal, cast

from spectron.errors import ConfigError
from spectron.ranges import Proportion, checks_ranges
from spectron.segments.interleaved import Interleaved, Schedule
from spectron.segments.prompt import PromptFeatures, PromptSteps
from spectron.segments.segment import Parts, Segment
from spectron.segments.speech import Speech
from spectron.segments.text import Text, TextKind

MakeSegment = Callable[[Parts], Segment]


@checks_ranges
@dataclass
class SequenceSettings:
    """Segments of the sequence, in their order; each of them can be a class, with ``class_path`` and ``init_args``.

    Args:
        prompt: ``features``: the features of the encoder (``PromptFeatures``). ``steps``: the prompt as the speech head
            makes it, such as units (``PromptSteps``).
        prompt_attention: Whether the ``features`` see each other in both directions (``bidirectional``, a prefix LM as
            in the paper) or only those before them (``causal``).
        context: Further segments between prompt and text, by name.
        text: Text before the speech. ``before``: transcript and continuation (the paper). ``empty``: an empty text.
            ``filler``: tokens without content. ``none``: no position at all (``Text``). ``interleaved``: the text of
            ``before`` in turn with the ``steps`` of the speech, as one segment (``Interleaved``).
        schedule: Tokens and steps of a turn of ``interleaved``.
        text_separator: Text between transcript and continuation. The default, a space, is the paper's "no mark". A mark
            such as `` | `` separates the two halves of the output.
        speech: ``steps``: the steps of the speech head (``Speech``).
        scheduled_sampling: Fraction of the training utterances whose ``steps`` follow predicted ones.
    """

    prompt: Literal["features", "steps"] | Callable[[Parts], Segment] = "features"
    prompt_attention: Literal["bidirectional", "causal"] = "bidirectional"
    context: dict[str, Callable[[Parts], Segment]] = field(default_factory=dict)
    text: Literal["before", "interleaved", "empty", "filler", "none"] | Callable[[Parts], Segment] = "before"
    schedule: Schedule = field(default_factory=Schedule)
    text_separator: str = " "
    speech: Literal["steps"] | Callable[[Parts], Segment] = "steps"
    scheduled_sampling: Proportion = 0.0

    def build(self, parts: Parts) -> dict[str, Segment]:
        """Build the segments by name, in their order.

        Raises:
            ConfigError: if a value does not fit the parts, with its key after ``sequence``, or a name is taken.
        """
        taken = {"prompt", "text", "speech"} & set(self.context)
        if taken:
            message = f"{', '.join(sorted(taken))} is the name of another segment. Choose another name"
            raise ConfigError(message, key="sequence.context")
        try:
            given = {"prompt": self._prompt(parts), **{name: make(parts) for name, make in self.context.items()}}
            if self.text == "interleaved":
                return {**given, "speech": self._interleaved(parts)}
            return {**given, "text": self._text(parts), "speech": self._speech(parts)}
        except ConfigError as error:
            own = error.key in {setting.name for setting in fields(self)} and not error.origin
            raise (error.within("sequence") if own else error) from error

    def _prompt(self, parts: Parts) -> Segment:
        if callable(self.prompt):
            return self.prompt(parts)
        return PromptFeatures(parts, self.prompt_attention) if self.prompt == "features" else PromptSteps(parts)

    def _text(self, parts: Parts) -> Segment:
        if callable(self.text):
            return self.text(parts)
        return Text(parts, cast(TextKind, self.text), self.text_separator)

    def _interleaved(self, parts: Parts) -> Segment:
        if self.speech != "steps":
            message = "a speech segment of your own has no turns. Set text to before, or speech to steps"
            raise ConfigError(message, key="text")
        return Interleaved(parts, self.schedule, self.text_separator, self.scheduled_sampling)

    def _speech(self, parts: Parts) -> Segment:
        return Speech(parts, self.scheduled_sampling) if self.speech == "steps" else self.speech(parts)
