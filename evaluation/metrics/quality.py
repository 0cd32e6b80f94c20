"""How good the speech sounds, as a judge trained on listeners' ratings predicts it."""

from __future__ import annotations

import math

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PREDICTED_MOS
from spectron.evaluation.sample import SpokenSample


class PredictedMos(RatioMetric):
    """Mean of the predicted mean opinion scores of the generated speech, 1 (bad) to 5 (excellent).

    It knows nothing of what is said or by whom, and only compares systems that were rated by one judge.
    """

    label = PREDICTED_MOS
    needs = frozenset({"quality_predictor"})
    skips = "no speech that can be rated"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Score and 1."""
        score = sample.predicted_mos
        return None if score is None or math.isnan(score) else (score, 1)
