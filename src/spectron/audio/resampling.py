"""Sample rates, and conversion between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from spectron.errors import DataError

ROLLOFF = 0.99  # cutoff frequency as a fraction of the lower Nyquist frequency
ZERO_CROSSINGS = 6  # of the sinc on either side, at which it is cut off
MOST_COEFFICIENTS = 1 << 24  # of all filters of two rates; usual rates need less than a tenth


@dataclass
class SampleRates:
    """Sample rates that a task requires of its data.

    Args:
        prompt_hz: Rate of the prompt, the encoder's input.
        speech_hz: Rate of the continuation, the speech head's target.
    """

    prompt_hz: int
    speech_hz: int


@lru_cache(maxsize=16)
def _filters(before: int, after: int) -> tuple[Tensor, int]:
    """Windowed-sinc filters for rates without a common divisor, (after, 1, 2 * W + before), and their half width W in
    samples.

    One filter per output phase: output j is the sinc interpolation of the input at j / after, cut off by a Hann window.
    """
    cutoff = min(before, after) * ROLLOFF
    width = math.ceil(ZERO_CROSSINGS * before / cutoff)
    taps = torch.arange(-width, width + before, dtype=torch.float64)[None, None] / before
    phases = torch.arange(0, -after, -1)[:, None, None] / after
    t = ((phases + taps) * cutoff).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = torch.cos(t * math.pi / ZERO_CROSSINGS / 2) ** 2
    angle = t * math.pi
    sinc = torch.where(angle == 0, torch.ones_like(angle), angle.sin() / angle)
    return (sinc * (window * (cutoff / before))).float(), width


def resample(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Resample audio (..., S) at ``from_hz`` to (..., ceil(S * to_hz / from_hz)) at ``to_hz``.

    Source: band-limited interpolation (https://ccrma.stanford.edu/~jos/resample), with the defaults of torchaudio's
        ``resample``.

    Raises:
        DataError: if the rates have no common divisor that is large enough, as for the rate of a damaged header.
    """
    if from_hz == to_hz or waveform.shape[-1] == 0:
        return waveform
    divisor = math.gcd(from_hz, to_hz)
    before, after = from_hz // divisor, to_hz // divisor
    if before * after > MOST_COEFFICIENTS:
        raise DataError(
            f"cannot resample from {from_hz} to {to_hz} Hz, whose greatest common divisor is {divisor}: convert the "
            "recording to a usual sample rate, such as 16000 or 24000 Hz"
        )
    filters, width = _filters(before, after)
    rows = functional.pad(
        waveform.float().flatten(0, -2) if waveform.ndim > 1 else waveform.float()[None], (width, width + before)
    )
    phases = functional.conv1d(rows[:, None], filters.to(rows.device), stride=before)  # (B, after, samples)
    resampled = phases.transpose(1, 2).flatten(1)[:, : math.ceil(after * waveform.shape[-1] / before)]
    return resampled.view(*waveform.shape[:-1], -1)


def resample_rows(waveform: Tensor, num_samples: Tensor, from_hz: int, to_hz: int) -> tuple[Tensor, Tensor]:
    """Resample recordings (B, S) with (B,) valid samples, each as it would be alone."""
    if from_hz == to_hz:
        return waveform, num_samples
    rows = [resample(row[:count], from_hz, to_hz) for row, count in zip(waveform, num_samples.tolist(), strict=True)]
    lengths = torch.tensor([len(row) for row in rows], device=waveform.device)
    return pad_sequence(rows, batch_first=True), lengths
