"""Metrics of the generation itself: end of speech and text, length, speaking rate, and distance of the spectrogram."""

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
    TEXT_STOPPED,
)
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample


def mel_distance(first: Tensor, second: Tensor) -> tuple[float, int]:
    """Compute the absolute difference of two spectrograms (T, M) over their common length.

    Returns:
        The mean over bands, summed over frames, and the number of frames.
    """
    frames = min(len(first), len(second))
    difference = (first[:frames].double() - second[:frames].double()).abs()
    return float(difference.mean(1).sum()), frames


class StoppedShare(RatioMetric):
    """Fraction of samples whose speech ended by the stop rule and not at the maximum length."""

    label = STOPPED
    skips = "none is"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return 1 or 0, and 1."""
        return float(sample.stopped), 1


class TextStoppedShare(RatioMetric):
    """Fraction of samples whose text ended by the end token and not at the maximum number of tokens."""

    label = TEXT_STOPPED
    skips = "no text written by the model"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return 1 or 0, and 1; None if the system wrote no text."""
        return None if sample.text_stopped is None else (float(sample.text_stopped), 1)


class LengthRatio(RatioMetric):
    """Seconds generated per second of the reference recordings."""

    label = LENGTH_RATIO
    skips = "no recording of what followed"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return the seconds of both; None without a recording."""
        return (sample.generated_seconds, sample.reference_seconds) if len(sample.reference) else None


class SpeakingRate(RatioMetric):
    """Recognised words per second of generated speech, pauses included; speech without words adds its seconds."""

    label = SPEAKING_RATE
    weight = "seconds"
    needs = frozenset({TRANSCRIPT})
    skips = "no speech"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return words and seconds."""
        transcript = self.evidence(sample, TRANSCRIPT)
        if transcript is None or not len(sample.generated):
            return None
        return len(normalize(transcript).split()), sample.generated_seconds


def mel_difference(mel: Tensor, reference: Tensor) -> NumeratorAndDenominator:
    """Return the ``mel_distance`` of two log-mels (T, M); None without a common frame, or if it is not finite."""
    difference, frames = mel_distance(mel, reference)
    return (difference, frames) if frames and math.isfinite(difference) else None


class FreeRunningMelError(RatioMetric):
    """Mean absolute log-mel difference of generated speech and recording, frame by frame over their common length.

    A right continuation with another timing has a large error: compare it with the teacher-forced error.
    """

    label = FREE_RUNNING_MEL_L1
    skips = "no speech, no recording of what followed, or a spectrogram that is no number"
    weight = "frames"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return differences and frames."""
        return mel_difference(sample.generated_mel, sample.reference_mel)


class TeacherForcedMelError(RatioMetric):
    """The same difference with each frame predicted from the true past."""

    label = TEACHER_FORCED_MEL_L1
    skips = (
        "no recording of what followed, a system that cannot be shown the true past, or a spectrogram that is no number"
    )
    weight = "frames"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return differences and frames."""
        mel = sample.teacher_forced_mel
        return None if mel is None else mel_difference(mel, sample.reference_mel)
