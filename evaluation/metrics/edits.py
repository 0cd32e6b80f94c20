"""Edits between texts: of the speech against the system's own text, and of its transcript against what was said."""

from __future__ import annotations

from abc import abstractmethod

from evaluation.metrics.contracts import RatioMetric
from evaluation.metrics.intervals import Parts
from evaluation.sample import SpokenSample


class EditRate(RatioMetric):
    """Edits of a text against another, for each unit of the latter; without a unit to count against a sample is skipped."""

    @abstractmethod
    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Units to insert, delete or replace, and units of the reference."""

    def parts_of(self, reference: str, hypothesis: str) -> Parts:
        """Edits and units; None where the reference has none."""
        edits, units = self.edits(reference, hypothesis)
        return (edits, units) if units else None


class SpeechEditRate(EditRate):
    """Edits of the judge's transcript of the generated speech against the continuation that the system wrote."""

    needs = frozenset({"transcriber"})
    skips = "the system wrote no continuation"
    judges_speech = True

    def parts(self, sample: SpokenSample) -> Parts:
        """Edits and units."""
        return self.parts_of(sample.continuation_text or "", sample.heard or "")


class PromptEditRate(EditRate):
    """Edits of the system's transcript of the prompt against what was said."""

    by_split = True
    skips = "the system writes no text, or no word is said in the prompt"

    def parts(self, sample: SpokenSample) -> Parts:
        """Edits and units."""
        return None if sample.transcript is None else self.parts_of(sample.prompt_text, sample.transcript)
