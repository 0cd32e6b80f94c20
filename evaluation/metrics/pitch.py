"""Difference of pitch between speech and a recording of the same words."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.errors import require_extra
from spectron.evaluation.metrics.cepstra import ANALYSIS, align, both_at_full_scale, mel_cepstra
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PITCH_ERROR
from spectron.evaluation.sample import SpokenSample

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0  # voices of men to children
WINDOW = 1024  # samples of the tracker's window, nearly four periods of the lowest voice
STEP = 0.2  # resolution of the tracker in semitones; half of it takes three times as long


def pitch(waveform: Tensor) -> Tensor:
    """Estimate the fundamental frequency in Hz of every frame (T,) of audio (S,), NaN for unvoiced frames.

    Source: probabilistic YIN (Mauch and Dixon 2014), librosa's.
    """
    require_extra("metrics", "PitchError", "librosa")
    from librosa import pyin

    hop = ANALYSIS.hop_samples
    hertz, _, _ = pyin(
        waveform.double().numpy(),
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=ANALYSIS.sample_rate_hz,
        frame_length=WINDOW,
        hop_length=hop,
        resolution=STEP,
        pad_mode="constant",
    )
    return torch.from_numpy(hertz)


def pitch_error(first: Tensor, second: Tensor) -> tuple[float, int]:
    """Compute the root mean square difference in cents of paired frames of pitch in Hz (P,).

    Returns:
        The error, and the number of frames that are voiced in both; the error is NaN if there is none.
    """
    cents = 1200 * (first / second).log2()
    cents = cents[~cents.isnan()]
    return float(cents.square().mean().sqrt()), len(cents)


class PitchError(RatioMetric):
    """Pitch error of generated speech against the recording, over frames that are voiced in both.

    The alignment of their cepstra pairs the frames. The value is the mean of the samples' errors, weighted by these
    frames. Both must contain the same words. An octave is 1200 cents: errors of the tracker by one octave are visible.
    """

    label = PITCH_ERROR
    weight = "frames"
    skips = "silence, no frame voiced in both, or no recording of what followed"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return the error times its frames, and the frames."""
        if (pair := both_at_full_scale(sample)) is None:
            return None
        generated, reference = pair
        ours, theirs = align(mel_cepstra(generated), mel_cepstra(reference))
        error, frames = pitch_error(pitch(generated)[ours], pitch(reference)[theirs])
        return (error * frames, frames) if frames else None
