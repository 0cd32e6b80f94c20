"""Confidence intervals by resampling items."""

from __future__ import annotations

import torch
from torch import Tensor

RESAMPLES = 1000


def bootstrap_interval(numerators: Tensor, denominators: Tensor, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of ``sum(numerators) / sum(denominators)`` over items drawn with replacement.

    An item's numerator and denominator are drawn together, so that long items weigh in the interval as they do in the ratio.
    The same items in the same order give the same interval.

    Args:
        numerators: One value an item (N,).
        denominators: One value an item (N,), not below 0.
        seed: Seed of the drawing.

    Returns:
        Lower and upper end; NaN for fewer than two items.
    """
    if len(numerators) < 2:
        return torch.nan, torch.nan
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(numerators), (RESAMPLES, len(numerators)), generator=generator)
    ratios = numerators.double()[drawn].sum(1) / denominators.double()[drawn].sum(1)
    # A draw of items that weigh nothing has no ratio.
    low, high = ratios.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return low, high
