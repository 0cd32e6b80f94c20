"""Quality of the sound, as predicted by a judge that was trained on listeners' ratings."""

from __future__ import annotations

import math

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PREDICTED_MOS
from spectron.evaluation.sample import QUALITY, SpokenSample


class PredictedMos(RatioMetric):
    """Mean of the predicted mean opinion scores of the generated speech, 1 (bad) to 5 (excellent).

    It does not depend on words or speaker. Only scores of one judge are comparable.
    """

    label = PREDICTED_MOS
    needs = frozenset({QUALITY})
    skips = "no speech that can be rated"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return score and 1."""
        score = self.evidence(sample, QUALITY)
        return None if score is None or math.isnan(score) else (score, 1)
