"""Test inputs of the checks: noise of several lengths, and noise in place of padding."""

from __future__ import annotations

import torch
from torch import Tensor

GARBLED_PLACES = 5


def noise(num_samples: list[int], device: torch.device, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Return recordings of these lengths, zero-padded: (B, S) and (B,)."""
    generator = torch.Generator().manual_seed(seed)
    rows = [0.1 * torch.randn(count, generator=generator) for count in num_samples]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), torch.tensor(num_samples, device=device)


def ragged(rate_hz: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return three recordings of a second and less, of lengths that no frame size divides."""
    return noise([rate_hz, rate_hz * 2 // 3 + 7, rate_hz // 5], device)


def garbled(values: Tensor, lengths: Tensor) -> Tensor:
    """Replace the padding of (B, L, ...) by noise, and append a few more places of noise."""
    longer = torch.cat([values, torch.zeros_like(values[:, :GARBLED_PLACES])], dim=1)
    padded = torch.arange(longer.shape[1], device=values.device) >= lengths[:, None]
    rubbish = torch.randn(longer.shape, generator=torch.Generator().manual_seed(3)).to(longer)
    return torch.where(padded.reshape(*padded.shape, *[1] * (values.ndim - 2)), rubbish, longer)
