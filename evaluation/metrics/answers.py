"""Accuracy of answers to spoken questions."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import QA_ACCURACY, QA_TEXT_ACCURACY
from spectron.evaluation.metrics.normalizer import normalize, with_digits
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample
from spectron.tracking.measure import MetricValue

Matcher = Literal["tokens", "substring"]


def holds_answer(text: str, answers: list[str], matcher: Matcher = "tokens") -> bool:
    """Return whether one of the accepted answers occurs in the text; both are normalised.

    ``tokens`` compares whole words in sequence ("cat" is not in "category"), and numbers in digits with numbers in
    words ("7" is "seven"). ``substring`` is the paper's matcher, which compares any sequence of characters. An answer
    that is empty after normalisation never occurs.
    """
    said, wanted = normalize(text), [answer for answer in map(normalize, answers) if answer]
    if matcher == "substring":
        return any(answer in said for answer in wanted)
    if any(f" {answer} " in f" {said} " for answer in wanted):
        return True
    in_digits = f" {with_digits(said)} "
    return any(f" {with_digits(answer)} " in in_digits for answer in wanted)


class AnswerMetric(RatioMetric):
    """Fraction of questions with an accepted answer in a text; items without accepted answers are skipped.

    Args:
        matcher: ``tokens`` or ``substring``. The unit contains it, and for ``substring`` the name too, so that a suite
            can compute both.
        judge: See ``SpokenMetric``.
    """

    skips = "the question has no accepted answer"
    by_split = True

    def __init__(self, matcher: Matcher = "tokens", judge: str | None = None) -> None:
        super().__init__(judge)
        self.matcher: Matcher = matcher
        if matcher != "tokens":
            self.label = replace(self.label, name=f"{self.label.name}_{matcher}")

    def match(self, text: str, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return 1 or 0, and 1; None for a question without accepted answers."""
        return (float(holds_answer(text, sample.answers, self.matcher)), 1) if sample.answers else None

    def measures(self) -> list[MetricValue]:
        """Return the fraction; its unit names the matcher."""
        share, *rest = super().measures()
        return [replace(share, unit=f"{share.unit} ({self.matcher})"), *rest]


class SpokenAnswerAccuracy(AnswerMetric):
    """Spoken-QA accuracy: the recogniser's transcript must contain the answer. Silence is a wrong answer."""

    label = QA_ACCURACY
    needs = frozenset({TRANSCRIPT})
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return 1 if the transcript contains an accepted answer, else 0, and 1."""
        return self.match(self.evidence(sample, TRANSCRIPT) or "", sample)


class WrittenAnswerAccuracy(AnswerMetric):
    """The same accuracy in the system's text; it is above the spoken one if the speech garbles right answers."""

    label = QA_TEXT_ACCURACY
    skips = "the question has no accepted answer, or the system writes no text"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return 1 if the system wrote an accepted answer, else 0, and 1; None for a system that writes no text."""
        return None if sample.continuation_text is None else self.match(sample.continuation_text, sample)
