"""How the generation went: whether it ended by itself, how long it is, how far its spectrogram lies from the recording's."""

from __future__ import annotations

import math

from torch import Tensor

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import (
    FREE_RUNNING_MEL_L1,
    LENGTH_RATIO,
    SPEAKING_RATE,
    STOPPED,
    TEACHER_FORCED_MEL_L1,
)
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import SpokenSample


def mel_distance(first: Tensor, second: Tensor) -> tuple[float, int]:
    """Absolute differences of two spectrograms (T, M) over their common length: a frame's mean over bands, summed; and the frames."""
    frames = min(len(first), len(second))
    difference = (first[:frames].double() - second[:frames].double()).abs()
    return float(difference.mean(1).sum()), frames


class StoppedShare(RatioMetric):
    """Share of samples whose speech ended by the stop rule and not at the longest length allowed."""

    label = STOPPED
    skips = "none is"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """1 or 0, and 1."""
        return float(sample.stopped), 1


class LengthRatio(RatioMetric):
    """Seconds generated for each second of the recordings that they stand for."""

    label = LENGTH_RATIO
    skips = "no recording of what followed"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Seconds of both; None without a recording."""
        return (sample.generated_seconds, sample.reference_seconds) if len(sample.reference) else None


class SpeakingRate(RatioMetric):
    """Words heard for each second of generated speech, pauses included; speech in which no word was heard counts as its seconds."""

    label = SPEAKING_RATE
    weight = "seconds"
    needs = frozenset({"transcriber"})
    skips = "no speech"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Words and seconds."""
        if sample.heard is None or not len(sample.generated):
            return None
        return len(normalize(sample.heard).split()), sample.generated_seconds


def mel_parts(mel: Tensor, reference: Tensor) -> NumeratorAndDenominator:
    """Summed differences of two log-mels (T, M) and frames in common; None without a frame, or where a value is no number."""
    difference, frames = mel_distance(mel, reference)
    return (difference, frames) if frames and math.isfinite(difference) else None


class FreeRunningMelError(RatioMetric):
    """Mean absolute log-mel difference, frame by frame, of the generated speech and the recording over their common length.

    A continuation that is right but timed otherwise is far away by this measure: read it against the teacher-forced one.
    """

    label = FREE_RUNNING_MEL_L1
    skips = "no speech, no recording of what followed, or a spectrogram that is no number"
    weight = "frames"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Differences and frames."""
        return mel_parts(sample.generated_mel, sample.reference_mel)


class TeacherForcedMelError(RatioMetric):
    """The same difference where each frame is predicted from the true past."""

    label = TEACHER_FORCED_MEL_L1
    skips = (
        "no recording of what followed, a system that cannot be shown the true past, or a spectrogram that is no number"
    )
    weight = "frames"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Differences and frames."""
        return None if sample.teacher_forced_mel is None else mel_parts(sample.teacher_forced_mel, sample.reference_mel)
