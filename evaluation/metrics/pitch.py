"""How far the melody of speech lies from that of a recording of the same words."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.evaluation.metrics.cepstra import ANALYSIS, align, both_at_full_scale, mel_cepstra
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PITCH_ERROR
from spectron.evaluation.sample import SpokenSample

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0  # of voices, men's to children's
WINDOW = 1024  # samples that the tracker looks at, nearly four periods of the lowest voice
STEP = 0.2  # semitones between the pitches that the tracker tells apart; half of it takes three times as long


def pitch(waveform: Tensor) -> Tensor:
    """Fundamental frequency in Hz of every frame (T,) of the analysis of audio (S,), NaN where it is unvoiced.

    Source: probabilistic YIN (Mauch and Dixon 2014), librosa's.
    """
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
    """Root mean square difference in cents of paired frames of pitch in Hz (P,), and the frames that are voiced in both.

    The error is NaN where no frame is.
    """
    cents = 1200 * (first / second).log2()
    cents = cents[~cents.isnan()]
    return float(cents.square().mean().sqrt()), len(cents)


class PitchError(RatioMetric):
    """Pitch error of generated speech against the recording, over frames voiced in both, paired by the alignment of their cepstra.

    The mean of the samples' errors, each weighing as many frames as it was taken from. For speech of the same words only, as the
    mel-cepstral distance is. An octave is 1200 cents: a tracker that jumps by one in a few frames shows.
    """

    label = PITCH_ERROR
    weight = "frames"
    skips = "silence, no frame voiced in both, or no recording of what followed"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """The error times its frames, and the frames."""
        if (pair := both_at_full_scale(sample)) is None:
            return None
        generated, reference = pair
        ours, theirs = align(mel_cepstra(generated), mel_cepstra(reference))
        error, frames = pitch_error(pitch(generated)[ours], pitch(reference)[theirs])
        return (error * frames, frames) if frames else None
