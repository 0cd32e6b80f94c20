"""Accuracy of likelihood pairs: how often the right candidate has the higher likelihood."""

from __future__ import annotations

from spectron.evaluation.metrics import MetricSpec, RatioMetric
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.sample import SpokenSample


class PairAccuracy(RatioMetric):
    """Fraction of pairs whose right recording has the higher score; a tie counts one half, which is chance."""

    by_split = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return None: a sample of speech is no pair. The task adds numerators and denominators of pairs directly."""
        return None


class TextPairAccuracy(PairAccuracy):
    """Accuracy by the text score: log-likelihood of the candidate's words given its speech, in nats per token."""

    label = MetricSpec("pair_accuracy_text", "share", True)
    skips = "the words of the recordings are not known, or the model reads none"


class SpectrogramPairAccuracy(PairAccuracy):
    """Accuracy by the spectrogram score: the head's loss per frame of the candidate's end given its beginning."""

    label = MetricSpec("pair_accuracy_spectrogram", "share", True)
    skips = "nothing follows the beginning that both share"


class TextPairTies(PairAccuracy):
    """Fraction of pairs with equal text scores: a scorer that cannot tell them apart has an accuracy of one half."""

    label = MetricSpec("pair_ties_text", "share", False)
    skips = TextPairAccuracy.skips


class SpectrogramPairTies(PairAccuracy):
    """Fraction of pairs with equal spectrogram scores."""

    label = MetricSpec("pair_ties_spectrogram", "share", False)
    skips = SpectrogramPairAccuracy.skips
