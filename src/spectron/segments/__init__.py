"""Segments of the sequence that a spoken language model reads and writes: prompt, text, speech, or a user's own."""

from spectron.segments.codes import CodeContext
from spectron.segments.interleaved import Interleaved, Schedule
from spectron.segments.places import Place, Places
from spectron.segments.prompt import PromptFeatures, PromptSteps
from spectron.segments.segment import Context, Parts, Positions, Segment, Stretch, read
from spectron.segments.sequence import SequenceSettings
from spectron.segments.speech import Speech
from spectron.segments.text import Text

__all__ = [
    "CodeContext",
    "Context",
    "Interleaved",
    "Parts",
    "Place",
    "Places",
    "Positions",
    "PromptFeatures",
    "PromptSteps",
    "Schedule",
    "Segment",
    "SequenceSettings",
    "Speech",
    "Stretch",
    "Text",
    "read",
]
