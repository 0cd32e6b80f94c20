"""Mel cepstra of two recordings of the same words, the path that aligns them, and their distance along it."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.resampling import resample
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import MEL_CEPSTRAL_DISTANCE
from spectron.evaluation.sample import SpokenSample

COEFFICIENTS = 13  # without the one that is loudness
# A fixed analysis, so that systems of any spectrogram can be compared. A sinusoid of full scale has a magnitude of 100 in it: whatever
# lies 80 dB below is as good as silent.
ANALYSIS = MelConfig(
    sample_rate_hz=16000, frame_shift_ms=10.0, window_ms=25.0, n_mels=40, low_hz=20.0, high_hz=8000.0, floor=0.01
)
DECIBELS = 10 * math.sqrt(2) / math.log(10)


@cache
def front_end() -> LogMel:
    """The spectrogram from which cepstra are made."""
    return LogMel(ANALYSIS)


def at_full_scale(waveform: Tensor, rate_hz: int) -> Tensor | None:
    """Audio (S,) at the analysis' rate with a peak of 1, which takes out the gain; None for silence."""
    waveform = resample(waveform.float(), rate_hz, ANALYSIS.sample_rate_hz)
    peak = waveform.abs().max() if len(waveform) else torch.tensor(0.0)
    return waveform / peak if peak > 0 else None


def both_at_full_scale(sample: SpokenSample) -> tuple[Tensor, Tensor] | None:
    """Generated speech and recording of a sample, as ``at_full_scale`` gives them; None where one of them is silent or not there."""
    generated, reference = (
        at_full_scale(speech, sample.speech_rate_hz) for speech in (sample.generated, sample.reference)
    )
    return None if generated is None or reference is None else (generated, reference)


def mel_cepstra(waveform: Tensor) -> Tensor:
    """Mel cepstra (T, 13) of audio (S,) at full scale."""
    log_mel, _ = front_end()(waveform[None], torch.tensor([len(waveform)]))
    return cosine_series(log_mel[0])


def cosine_series(log_mel: Tensor) -> Tensor:
    """A log-mel (T, M) as a cosine series over its bands without their mean, (T, 13).

    Coefficient m, from 1, is ``2 / M * sum over n of log_mel[n] * cos(pi * m * (n + 1/2) / M)``.
    """
    bands = torch.arange(log_mel.shape[1], dtype=torch.double) + 0.5
    orders = torch.arange(1, COEFFICIENTS + 1, dtype=torch.double)
    return log_mel.double() @ torch.cos(math.pi / len(bands) * bands[:, None] * orders) * (2 / len(bands))


def align(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of two sequences (T, D) and (T', D) that belong together, (P,) each: dynamic time warping by Euclidean distance.

    Both run from first to last frame, in steps of one frame of either or of both; no step is dearer than another.
    """
    from librosa.sequence import dtw

    _, path = dtw(first.T.numpy(), second.T.numpy(), metric="euclidean")
    forwards = torch.from_numpy(path[::-1].copy())  # torch takes no array that runs backwards
    return forwards[:, 0], forwards[:, 1]


def cepstral_distances(first: Tensor, second: Tensor) -> Tensor:
    """Distances in dB (P,) of paired frames of cepstra (P, 13).

    It is what the spectra's envelopes differ by, root mean square over the mel axis. Source: Kubichek 1993 ("Mel-cepstral distance
    measure for objective speech quality assessment"), ``10 / ln 10 * sqrt(2 * sum of squared differences)``.
    """
    return DECIBELS * (first - second).norm(dim=1)


class MelCepstralDistance(RatioMetric):
    """Mel-cepstral distance of generated speech and recording, mean over the frames of their alignment.

    For speech of the same words only: for a text that is forced, or a vocoder. Loudness is left out; timing costs only where the
    alignment cannot undo it.
    """

    label = MEL_CEPSTRAL_DISTANCE
    weight = "frames"
    skips = "silence, or no recording of what followed"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Distances and frames of the alignment."""
        if (pair := both_at_full_scale(sample)) is None:
            return None
        first, second = map(mel_cepstra, pair)
        ours, theirs = align(first, second)
        return float(cepstral_distances(first[ours], second[theirs]).sum()), len(ours)
