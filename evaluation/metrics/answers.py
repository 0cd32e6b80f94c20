"""Whether a spoken question was answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import QA_ACCURACY, QA_TEXT_ACCURACY
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import SpokenSample
from spectron.tracking.measure import MetricValue

Matcher = Literal["tokens", "substring"]


def holds_answer(text: str, answers: list[str], matcher: Matcher = "tokens") -> bool:
    """Whether one of the accepted answers occurs in the text, both normalised.

    ``tokens`` wants the answer's words one after another ("cat" is not in "category"); ``substring`` is the paper's laxer reading.
    An answer of which normalisation leaves nothing never occurs.
    """
    edge = " " if matcher == "tokens" else ""
    padded = edge + normalize(text) + edge
    return any(edge + wanted + edge in padded for wanted in map(normalize, answers) if wanted)


class AnswerMetric(RatioMetric):
    """Share of questions of which an accepted answer occurs in a text; items without accepted answers are skipped.

    Args:
        matcher: ``tokens`` or ``substring``; it stands in the unit, and ``substring`` in the name too, so that both may be asked for.
    """

    skips = "the question has no accepted answer"
    by_split = True

    def __init__(self, matcher: Matcher = "tokens") -> None:
        super().__init__()
        self.matcher: Matcher = matcher
        if matcher != "tokens":
            self.label = replace(self.label, name=f"{self.label.name}_{matcher}")

    def judge(self, text: str, sample: SpokenSample) -> NumeratorAndDenominator:
        """1 or 0, and 1."""
        return (float(holds_answer(text, sample.answers, self.matcher)), 1) if sample.answers else None

    def measures(self) -> list[MetricValue]:
        """The share, its unit naming the matcher."""
        share, *rest = super().measures()
        return [replace(share, unit=f"{share.unit} ({self.matcher})"), *rest]


class SpokenAnswerAccuracy(AnswerMetric):
    """Spoken-QA accuracy: the answer must be heard in the generated speech. Silence is a wrong answer."""

    label = QA_ACCURACY
    needs = frozenset({"transcriber"})
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """1 where the judge heard an accepted answer."""
        return self.judge(sample.heard or "", sample)


class WrittenAnswerAccuracy(AnswerMetric):
    """The same in the continuation that the system wrote: above the spoken one where the speech garbles a right answer."""

    label = QA_TEXT_ACCURACY
    skips = "the question has no accepted answer, or the system writes no text"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """1 where the system wrote an accepted answer; None for a system that writes no text."""
        return None if sample.continuation_text is None else self.judge(sample.continuation_text, sample)
