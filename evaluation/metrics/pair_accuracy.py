"""Accuracy of likelihood pairs: how often the right candidate is the likelier one."""

from __future__ import annotations

from spectron.evaluation.metrics import MetricSpec, RatioMetric
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.sample import SpokenSample


class PairAccuracy(RatioMetric):
    """Share of pairs whose right recording has strictly the higher score; chance is a half."""

    by_split = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """None: a sample of speech holds no pair, whose parts are added as they are."""
        return None


class TextPairAccuracy(PairAccuracy):
    """By the text score: how likely the candidate's words are once it was heard, in nats a token."""

    label = MetricSpec("pair_accuracy_text", "share", True)
    skips = "the words of the recordings are not known, or the model reads none"


class SpectrogramPairAccuracy(PairAccuracy):
    """By the spectrogram score: how well the candidate's end is predicted after its beginning, in the head's loss a frame."""

    label = MetricSpec("pair_accuracy_spectrogram", "share", True)
    skips = "nothing follows the beginning that both share"
