"""SpecAugment: blocks of bands and of frames hidden from the encoder in training.

Source: Park et al. 2019 (arXiv:1904.08779), without time warping. Block lengths follow each row's own length, so that what is hidden
does not depend on the batch around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectron.errors import ConfigError


@dataclass
class SpecAugmentSettings:
    """How much is hidden; the defaults are the paper's.

    Args:
        frequency_blocks: Blocks of neighbouring bands.
        frequency_width: Most bands in one block.
        time_blocks: Blocks of neighbouring frames.
        time_share: Most of a recording in one block, as a share of its frames.
    """

    frequency_blocks: int = 2
    frequency_width: int = 27
    time_blocks: int = 10
    time_share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.time_share <= 1:
            raise ConfigError(f"must be between 0 and 1, got {self.time_share}", key="time_share")


def block_mask(lengths: Tensor, longest: int, widest: Tensor, blocks: int) -> Tensor:
    """Random blocks: True inside any of ``blocks`` blocks of at most ``widest`` (B,) places within (B,) lengths; (B, longest)."""
    rows, device = len(lengths), lengths.device
    width = (torch.rand(rows, blocks, device=device) * (widest[:, None] + 1)).floor()
    start = (torch.rand(rows, blocks, device=device) * (lengths[:, None] - width + 1).clamp(min=1)).floor()
    place = torch.arange(longest, device=device)[None, None]
    return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(dim=1)


class SpecAugment(nn.Module):
    """Replaces random blocks of a normalised spectrogram by 0, its mean; does nothing in eval mode."""

    def __init__(self, settings: SpecAugmentSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        """Mask (B, T, M) with (B,) valid frames."""
        if not self.training:
            return mel
        s, (rows, frames, bands) = self.settings, mel.shape
        all_bands = torch.full((rows,), bands, device=mel.device)
        widest_band = torch.full((rows,), min(s.frequency_width, bands), device=mel.device)
        hidden = block_mask(num_frames, frames, (num_frames * s.time_share).floor(), s.time_blocks)[..., None]
        return mel.masked_fill(hidden | block_mask(all_bands, bands, widest_band, s.frequency_blocks)[:, None], 0.0)
