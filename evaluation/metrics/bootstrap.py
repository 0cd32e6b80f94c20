"""Confidence intervals of ratios of sums, and of the difference of two, by resampling items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectron.errors import ConfigError

RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # the ends of a 95 % interval as shares

Parts = tuple[float, float] | None  # what one item adds to a numerator and to a denominator; None where it cannot be used


@dataclass(frozen=True)
class PairedDifference:
    """How the ratios of two systems differ on the same items.

    Args:
        value: The first system's ratio minus the second's.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end of the 95 % interval of the difference.
        p: How easily chance alone would tell the two apart as clearly, from 0 to 1.
        count: Items that both systems can be measured on.
    """

    value: float
    low: float
    high: float
    p: float
    count: int


def columns_of(parts: list[Parts]) -> tuple[Tensor, Tensor]:
    """Numerators and denominators (N,) of the items that have them, in double precision."""
    used = torch.tensor([part for part in parts if part is not None], dtype=torch.double).reshape(-1, 2)
    return used[:, 0], used[:, 1]


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
    drawn = draw(len(numerators), seed)
    # A draw of items that weigh nothing has no ratio.
    low, high = resampled(numerators, denominators, drawn).nanquantile(torch.tensor(INTERVAL, dtype=torch.double)).tolist()
    return low, high


def paired_bootstrap(first: list[Parts], second: list[Parts], seed: int = 0) -> PairedDifference:
    """Compare two systems by their parts of the same items, in the same order; an item that either cannot use is left out of both.

    Both ratios are taken from the same drawn items, so that what makes an item hard for both does not blur the difference. ``p`` is
    twice the smaller share of draws in which the difference is not above, or not below, 0, one draw added to each: it is never 0, and 1
    where the systems are alike.

    Args:
        first: Parts of the first system's items.
        second: Parts of the second system's items.
        seed: Seed of the drawing.

    Returns:
        The difference of the ratios; NaN in all but the count for fewer than two common items.

    Raises:
        ConfigError: if the two have not the same number of items.
    """
    if len(first) != len(second):
        raise ConfigError(
            f"a paired comparison needs the same items of both systems, got {len(first)} and {len(second)}: evaluate both on one set"
        )
    common = [(one, other) for one, other in zip(first, second, strict=True) if one is not None and other is not None]
    if len(common) < 2:
        return PairedDifference(torch.nan, torch.nan, torch.nan, torch.nan, len(common))
    one, other = columns_of([pair[0] for pair in common]), columns_of([pair[1] for pair in common])
    drawn = draw(len(common), seed)
    differences = resampled(*one, drawn) - resampled(*other, drawn)
    low, high = differences.nanquantile(torch.tensor(INTERVAL, dtype=torch.double)).tolist()
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (int((~differences.isnan()).sum()) + 1))
    value = float(one[0].sum() / one[1].sum() - other[0].sum() / other[1].sum())
    return PairedDifference(value, low, high, p, len(common))


def draw(items: int, seed: int) -> Tensor:
    """Items drawn with replacement, as many as there are in each of the resamples (R, N)."""
    return torch.randint(items, (RESAMPLES, items), generator=torch.Generator().manual_seed(seed))


def resampled(numerators: Tensor, denominators: Tensor, drawn: Tensor) -> Tensor:
    """The ratio (R,) of each resample; NaN where the items drawn weigh nothing."""
    return numerators.double()[drawn].sum(1) / denominators.double()[drawn].sum(1)
