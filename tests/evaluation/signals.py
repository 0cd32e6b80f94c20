"""Sounds of known pitch."""

import math

import torch
from torch import Tensor


def harmonics(hertz: float, num_samples: int = 4096, rate_hz: int = 16000, tilt: float = 1.0) -> Tensor:
    """Return (S,) samples of twenty harmonics like a voice; the amplitude of harmonic n is ``1 / n**tilt``."""
    seconds = torch.arange(num_samples, dtype=torch.double) / rate_hz
    return sum(torch.sin(2 * math.pi * hertz * n * seconds) / n**tilt for n in range(1, 21)).float() / 4
