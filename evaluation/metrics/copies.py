"""Distance of a vocoded recording from the recording: in log-mel, and in STFTs of several resolutions."""

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
        """Return differences and frames."""
        difference, frames = mel_distance(sample.generated_mel, sample.reference_mel)
        return (difference, frames) if frames else None


class StftDistance(RatioMetric):
    """Multi-resolution STFT distance (arXiv:1910.11480): spectral convergence plus log-magnitude difference (L1).

    The windows have 512, 1024 and 2048 samples, with a shift of a quarter. A recording that is silent or shorter than
    the longest window is skipped.
    """

    label = STFT_DISTANCE
    skips = f"shorter than {max(RESOLUTIONS)} samples, or a recording of silence"
    by_split = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return the distance of one recording, and 1."""
        length = min(len(sample.generated), len(sample.reference))
        # The distance is relative to the recording: everything is infinitely far from silence.
        if length < max(RESOLUTIONS) or not sample.reference[:length].any():
            return None
        convergence, logarithmic = stft_distances(sample.generated[None, :length], sample.reference[None, :length])
        return float(convergence + logarithmic), 1
