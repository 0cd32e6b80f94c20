"""Sample rates, and going from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torchaudio.transforms import Resample


@dataclass
class SampleRates:
    """The two rates that a task asks of its data.

    Args:
        prompt_hz: Rate at which the encoder hears the prompt.
        speech_hz: Rate of the speech head's targets, the continuation.
    """

    prompt_hz: int
    speech_hz: int


@lru_cache(maxsize=16)
def _resampler(from_hz: int, to_hz: int) -> Resample:
    """The windowed-sinc filter of one pair of rates; making it costs more than using it."""
    from torchaudio.transforms import Resample

    return Resample(from_hz, to_hz)


def resample(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Audio (..., S) at ``from_hz`` to (..., ceil(S * to_hz / from_hz)) at ``to_hz``."""
    if from_hz == to_hz or waveform.shape[-1] == 0:
        return waveform
    return _resampler(from_hz, to_hz)(waveform.float())
