"""Detection of prompts without speech, which a model would answer all the same."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

SILENT_DB = -60.0  # of full scale: the loudest moment of a silent recording
FRAME_SECONDS = 0.032
SMOOTHED_FRAMES = 4
BAND_EDGES_HZ = (100, 500, 1000, 2000, 4000)
FLOOR = 1e-8  # of the squared full scale: what is quieter does not count as a change
STEADY_DB = (
    5.0  # speech rises and falls by 20 dB, in noise of twice its level by 7 dB, and noise itself by at most 4.5 dB
)
SHORTEST_SECONDS = 1.0  # a shorter recording can be one vowel, which is as steady as a tone
SHORTEST_SPEECH_SECONDS = 0.1  # a shorter sound is a click


def is_silent(waveform: Tensor) -> bool:
    """Return whether no moment of a recording (S,) is audible; a constant offset is not."""
    return len(waveform) == 0 or bool((waveform - waveform.mean()).abs().max() < 10 ** (SILENT_DB / 20))


def speech_missing(waveform: Tensor, sample_rate_hz: int) -> str | None:
    """Return why a recording contains no speech, or None if it can contain some.

    It contains none if it is silent, if only a click interrupts its silence, or if it is steady: the level of no
    frequency band rises and falls, as in noise, hum or a tone. Other sounds, such as music, count as speech.

    Args:
        waveform: Mono audio (S,).
        sample_rate_hz: Its rate.
    """
    waveform = waveform.detach().float().cpu()
    if is_silent(waveform):
        return f"it is silent: its loudest moment is below {SILENT_DB:g} dB of full scale"
    waveform = waveform - waveform.mean()
    size = max(2, round(FRAME_SECONDS * sample_rate_hz))
    frames = torch.nn.functional.pad(waveform, (0, -len(waveform) % size)).view(-1, size)  # (T, size)
    peaks_db = 20 * frames.abs().amax(1).clamp(min=1e-9).log10()
    if (peaks_db >= SILENT_DB).sum() * FRAME_SECONDS < min(SHORTEST_SPEECH_SECONDS, len(waveform) / sample_rate_hz):
        return "it is silent, apart from a click"
    if len(waveform) / sample_rate_hz >= SHORTEST_SECONDS and _change_db(frames, sample_rate_hz) < STEADY_DB:
        return "it is a steady sound, such as noise, hum or a tone"
    return None


def _change_db(frames: Tensor, sample_rate_hz: int) -> float:
    """Return by how much the level of the most variable frequency band changes over frames (T, size)."""
    size = frames.shape[1]
    power = torch.fft.rfft(frames * torch.hann_window(size), dim=1).abs().square() / size**2  # (T, size // 2 + 1)
    edges = [min(math.ceil(edge * size / sample_rate_hz), power.shape[1] - 1) for edge in BAND_EDGES_HZ]
    bands = [power[:, low:high].sum(1) for low, high in pairwise(edges) if high > low]
    if not bands:
        return math.inf
    smoothed = torch.stack(bands).unfold(1, SMOOTHED_FRAMES, 1).mean(2)  # (bands, T - 5)
    levels = 10 * (smoothed + FLOOR).log10()
    low, high = levels.quantile(torch.tensor([0.05, 0.95]), dim=1)
    return float((high - low).max())
