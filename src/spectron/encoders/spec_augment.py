"""SpecAugment: masks blocks of bands and of frames in training.

Source: Park et al. 2019 (arXiv:1904.08779), without time warping. Block lengths depend on the length of each row, so
the mask does not depend on the rest of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from spectron.ranges import CountOrZero, Proportion, Range, checks_ranges

Blocks = Annotated[int, Range(0, 1000)]


@checks_ranges
@dataclass
class SpecAugmentSettings:
    """Amount of masking; the defaults are those of the paper.

    Args:
        frequency_blocks: Blocks of neighbouring bands.
        frequency_width: Maximum number of bands in a block.
        time_blocks: Blocks of neighbouring frames.
        time_share: Maximum length of a block, as a fraction of the frames of the recording.
    """

    frequency_blocks: Blocks = 2
    frequency_width: CountOrZero = 27
    time_blocks: Blocks = 10
    time_share: Proportion = 0.05


def block_mask(lengths: Tensor, longest: int, widest: Tensor, blocks: int) -> Tensor:
    """Return a mask (B, longest), True in random ``blocks`` of at most ``widest`` (B,) positions in ``lengths``."""
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
