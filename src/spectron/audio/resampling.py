"""Sample rates, and conversion between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torchaudio.transforms import Resample


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
def _resampler(from_hz: int, to_hz: int) -> Resample:
    """Return the windowed-sinc filter of a pair of rates, cached because computing it takes longer than applying it."""
    from torchaudio.transforms import Resample

    return Resample(from_hz, to_hz)


def resample(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Convert audio (..., S) at ``from_hz`` to (..., ceil(S * to_hz / from_hz)) at ``to_hz``."""
    if from_hz == to_hz or waveform.shape[-1] == 0:
        return waveform
    return _resampler(from_hz, to_hz)(waveform.float())
