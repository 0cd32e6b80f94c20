"""Prompts that are no speech, but rise and fall as speech does."""

import torch
from torch import Tensor


def syllables(seconds: float, rate_hz: int, pitch_hz: float = 440.0) -> Tensor:
    """Return a tone (S,) of the amplitude 0.3 that rises and falls four times a second."""
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    return 0.3 * torch.sin(2 * torch.pi * pitch_hz * time) * torch.sin(torch.pi * 4 * time).square()
