"""How far a vocoded recording lies from the recording itself: by its log-mel, and by STFTs of several resolutions."""

from __future__ import annotations

from spectron.evaluation.metrics.behaviour import mel_distance
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import MEL_DISTANCE, STFT_DISTANCE
from spectron.evaluation.sample import SpokenSample
from spectron.losses.waveform import RESOLUTIONS, stft_distances


class MelDistance(RatioMetric):
    """Mean absolute log-mel difference of a vocoded recording and the recording, over bands and frames."""

    label = MEL_DISTANCE
    skips = "no speech, or no recording"
    weight = "frames"
    by_split = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Differences and frames."""
        difference, frames = mel_distance(sample.generated_mel, sample.reference_mel)
        return (difference, frames) if frames else None


class StftDistance(RatioMetric):
    """Multi-resolution STFT distance (arXiv:1910.11480): spectral convergence plus mean absolute log-magnitude difference.

    Windows of 512, 1024 and 2048 samples, a quarter of it from one to the next; a recording shorter than the longest is skipped, and so
    is a silent one.
    """

    label = STFT_DISTANCE
    skips = f"shorter than {max(RESOLUTIONS)} samples, or a recording of silence"
    by_split = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """The distance of one recording, and 1."""
        length = min(len(sample.generated), len(sample.reference))
        # The distance is relative to the recording: to silence everything is infinitely far.
        if length < max(RESOLUTIONS) or not sample.reference[:length].any():
            return None
        convergence, logarithmic = stft_distances(sample.generated[None, :length], sample.reference[None, :length])
        return float(convergence + logarithmic), 1
