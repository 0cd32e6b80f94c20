"""Mel cepstra of two recordings of the same words, their alignment, and their distance along it."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.resampling import resample
from spectron.errors import require_extra
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import MEL_CEPSTRAL_DISTANCE
from spectron.evaluation.sample import SpokenSample

COEFFICIENTS = 13  # without the one that is loudness
# A fixed analysis makes systems with different spectrograms comparable. A sinusoid of full scale has a magnitude of 100
# in it, so that everything 80 dB below is treated as silence.
ANALYSIS = MelConfig(
    sample_rate_hz=16000, frame_shift_ms=10.0, window_ms=25.0, n_mels=40, low_hz=20.0, high_hz=8000.0, floor=0.01
)
DECIBELS = 10 * math.sqrt(2) / math.log(10)


@cache
def front_end() -> LogMel:
    """Return the spectrogram from which cepstra are computed."""
    return LogMel(ANALYSIS)


def at_full_scale(waveform: Tensor, rate_hz: int) -> Tensor | None:
    """Return audio (S,) at the rate of the analysis with a peak of 1, which removes the gain; None for silence."""
    waveform = resample(waveform.float(), rate_hz, ANALYSIS.sample_rate_hz)
    peak = waveform.abs().max() if len(waveform) else torch.tensor(0.0)
    return waveform / peak if peak > 0 else None


def both_at_full_scale(sample: SpokenSample) -> tuple[Tensor, Tensor] | None:
    """Return generated speech and recording of a sample at full scale; None if one of them is silent or missing."""
    generated, reference = (
        at_full_scale(speech, sample.speech_rate_hz) for speech in (sample.generated, sample.reference)
    )
    return None if generated is None or reference is None else (generated, reference)


def mel_cepstra(waveform: Tensor) -> Tensor:
    """Compute the mel cepstra (T, 13) of audio (S,) at full scale."""
    log_mel, _ = front_end()(waveform[None], torch.tensor([len(waveform)]))
    return cosine_series(log_mel[0])


def cosine_series(log_mel: Tensor) -> Tensor:
    """Convert a log-mel (T, M) into a cosine series over its bands, without their mean, (T, 13).

    Coefficient m, from 1, is ``2 / M * sum over n of log_mel[n] * cos(pi * m * (n + 1/2) / M)``.
    """
    bands = torch.arange(log_mel.shape[1], dtype=torch.double) + 0.5
    orders = torch.arange(1, COEFFICIENTS + 1, dtype=torch.double)
    return log_mel.double() @ torch.cos(math.pi / len(bands) * bands[:, None] * orders) * (2 / len(bands))


def align(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Align two sequences (T, D) and (T', D) by dynamic time warping with Euclidean distance.

    A step advances one or both sequences by one frame, and all steps cost the same.

    Returns:
        The frames (P,) of each sequence along the path, from first to last frame.
    """
    require_extra("metrics", "MelCepstralDistance", "librosa")
    from librosa.sequence import dtw

    _, path = dtw(first.T.numpy(), second.T.numpy(), metric="euclidean")
    forwards = torch.from_numpy(path[::-1].copy())  # torch accepts no array with negative strides
    return forwards[:, 0], forwards[:, 1]


def cepstral_distances(first: Tensor, second: Tensor) -> Tensor:
    """Compute the distances (P,) in dB of paired frames of cepstra (P, 13).

    The distance is the root mean square difference of the spectral envelopes over the mel axis:
    ``10 / ln 10 * sqrt(2 * sum of squared differences)``. Source: Kubichek 1993 ("Mel-cepstral distance measure for
    objective speech quality assessment").
    """
    return DECIBELS * (first - second).norm(dim=1)


class MelCepstralDistance(RatioMetric):
    """Mel-cepstral distance of generated speech and recording, as a mean over the frames of their alignment.

    Both must contain the same words, as with a forced text or a vocoder. Loudness has no effect. Timing only has an
    effect that the alignment cannot undo.
    """

    label = MEL_CEPSTRAL_DISTANCE
    weight = "frames"
    skips = "silence, or no recording of what followed"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return the distances and the frames of the alignment."""
        if (pair := both_at_full_scale(sample)) is None:
            return None
        first, second = map(mel_cepstra, pair)
        ours, theirs = align(first, second)
        return float(cepstral_distances(first[ours], second[theirs]).sum()), len(ours)
