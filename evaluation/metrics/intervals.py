"""Confidence intervals of ratios of sums, and of the difference of two, by resampling items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectron.errors import ConfigError

RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of a 95 % interval

NumeratorAndDenominator = tuple[float, float] | None  # what one item adds to the two sums; None if it cannot be used


@dataclass(frozen=True)
class PairedDifference:
    """Difference of the ratios of two systems on the same items.

    Args:
        value: The first system's ratio minus the second's.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end of the 95 % interval of the difference.
        p: Probability that chance alone gives at least this difference, from 0 to 1.
        count: Items with a value for both systems.
    """

    value: float
    low: float
    high: float
    p: float
    count: int


def columns_of(parts: list[NumeratorAndDenominator]) -> tuple[Tensor, Tensor]:
    """Return numerators and denominators (N,) of the items that have them, in double precision."""
    used = torch.tensor([part for part in parts if part is not None], dtype=torch.double).reshape(-1, 2)
    return used[:, 0], used[:, 1]


def ratio_interval(numerators: Tensor, denominators: Tensor) -> tuple[float, float]:
    """Compute the 95 % interval of a ratio of sums: exact if all items are right or all are wrong, else by bootstrap.

    If all items are the same, all resamples are the same, and the bootstrap's interval would have no width. If each
    item counts 0 of 1, or each 1 of 1, the interval is the one of Clopper and Pearson (1934). For such items it also
    bounds the mean of any value between 0 and 1.

    Args:
        numerators: One value per item (N,).
        denominators: One value per item (N,), not below 0.

    Returns:
        Lower and upper end; NaN for fewer than two items.
    """
    if len(numerators) >= 2 and bool((denominators == 1).all()):
        missed = INTERVAL[0] ** (1 / len(numerators))
        if bool((numerators == 0).all()):
            return 0.0, 1 - missed
        if bool((numerators == 1).all()):
            return missed, 1.0
    return bootstrap_interval(numerators, denominators)


def bootstrap_interval(numerators: Tensor, denominators: Tensor, seed: int = 0) -> tuple[float, float]:
    """Compute the 95 % interval of ``sum(numerators) / sum(denominators)`` over items drawn with replacement.

    An item's numerator and denominator are drawn together, so that long items have the same weight in the interval as
    in the ratio. The same items in the same order give the same interval.

    Args:
        numerators: One value per item (N,).
        denominators: One value per item (N,), not below 0.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN for fewer than two items.
    """
    if len(numerators) < 2:
        return torch.nan, torch.nan
    drawn = draw(len(numerators), seed)
    # A draw has no ratio if its denominators are all 0.
    low, high = (
        resampled(numerators, denominators, drawn).nanquantile(torch.tensor(INTERVAL, dtype=torch.double)).tolist()
    )
    return low, high


def paired_bootstrap(
    first: list[NumeratorAndDenominator], second: list[NumeratorAndDenominator], seed: int = 0
) -> PairedDifference:
    """Compare two systems on the same items in the same order; an item that one system skips is left out for both.

    Each resample draws the same items for both systems, so that items that are difficult for both do not widen the
    interval. ``p`` is twice the smaller fraction of draws on one side of 0, with one draw added to each side. It is
    never below the smallest value that a sign test of that many items can reach, and 1 if the systems are equal.

    Args:
        first: Numerator and denominator of each item of the first system.
        second: The same of the second system.
        seed: Seed of the draws.

    Returns:
        The difference of the ratios; NaN in all but the count for fewer than two common items.

    Raises:
        ConfigError: if the numbers of items differ.
    """
    if len(first) != len(second):
        raise ConfigError(
            f"a paired comparison needs the same items of both systems, got {len(first)} and {len(second)}: "
            "evaluate both on one set"
        )
    common = [(one, other) for one, other in zip(first, second, strict=True) if one is not None and other is not None]
    if len(common) < 2:
        return PairedDifference(torch.nan, torch.nan, torch.nan, torch.nan, len(common))
    one, other = columns_of([pair[0] for pair in common]), columns_of([pair[1] for pair in common])
    drawn = draw(len(common), seed)
    differences = resampled(*one, drawn) - resampled(*other, drawn)
    low, high = differences.nanquantile(torch.tensor(INTERVAL, dtype=torch.double)).tolist()
    if low == high == 0 and are_shares(*one) and are_shares(*other) and bool((one[0] == other[0]).all()):
        # No item differs, so no resample differs: use the exact bound, as in ``ratio_interval``.
        high = 1 - INTERVAL[0] ** (1 / len(common))
        low = -high
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (int((~differences.isnan()).sum()) + 1))
    p = max(p, 2.0 ** (1 - len(common)))  # a sign test of items that all agree: few items cannot show more
    value = float(one[0].sum() / one[1].sum() - other[0].sum() / other[1].sum())
    return PairedDifference(value, low, high, p, len(common))


@dataclass(frozen=True)
class Pooled:
    """A ratio, or the difference of two, over several trainings of one kind.

    Args:
        value: Mean over the trainings.
        low: Lower end of its 95 % interval.
        high: Upper end.
        count: Items that count in at least one of the trainings.
        trainings: How many of them have a ratio.
        agree: Whether the difference has the same sign in all of them.
    """

    value: float
    low: float
    high: float
    count: int
    trainings: int
    agree: bool = True


def pooled_bootstrap(
    trainings: list[list[NumeratorAndDenominator]],
    others: list[list[NumeratorAndDenominator]] | None = None,
    seed: int = 0,
) -> Pooled:
    """Compute the mean ratio of several trainings on the same items, and its 95 % interval over trainings and items.

    Each resample draws trainings and, for all of them, items, both with replacement. The interval therefore includes
    the effects of another training seed and of other items. Two or three trainings show little of their spread, so that
    their interval is rather too narrow than too wide. A training without a valid item is left out.

    Args:
        trainings: Numerator and denominator of each item, in the same order, one list per training.
        others: The same of another kind, whose mean is subtracted; an item counts in a training if both have it.
        seed: Seed of the draws.

    Returns:
        The mean or difference; NaN for fewer than two items.

    Raises:
        ConfigError: if the lists differ in length.
    """
    lengths = {len(parts) for parts in (*trainings, *(others or []))}
    if len(lengths) != 1 or (others is not None and len(others) != len(trainings)):
        raise ConfigError(
            "pooling needs the same items of all trainings, and the same trainings of both kinds: "
            "evaluate all on one set"
        )
    nothing = (0.0, 0.0)
    pairs = [list(zip(one, other, strict=True)) for one, other in zip(trainings, others or trainings, strict=True)]
    both = [[pair if None not in pair else (nothing, nothing) for pair in row] for row in pairs]
    table = torch.tensor(both, dtype=torch.double).reshape(
        len(trainings), -1, 2, 2
    )  # training, item, kind, numerator and denominator
    table = table[(table[..., 1].sum(1) > 0).all(1)]
    kept, counts = len(table), table[..., 1].sum(2) > 0  # (training, item)
    count = int(counts.any(0).sum())
    if count < 2:
        return Pooled(torch.nan, torch.nan, torch.nan, count, kept)

    def mean_over(sums: Tensor, drawn: Tensor) -> Tensor:
        """Return the mean ratio or difference (...) of sums (training, ..., kind, 2) over ``drawn`` (..., training)."""
        ratios = sums[..., 0] / sums[..., 1]
        wanted = ratios[..., 0] - ratios[..., 1] if others is not None else ratios[..., 0]
        return wanted.movedim(0, -1).gather(-1, drawn).mean(-1)

    items = draw(table.shape[1], seed)
    chosen = torch.randint(kept, (RESAMPLES, kept), generator=torch.Generator().manual_seed(seed + 1))
    means = mean_over(table[:, items].sum(2), chosen)
    low, high = means.nanquantile(torch.tensor(INTERVAL, dtype=torch.double)).tolist()
    value = float(mean_over(table.sum(1), torch.arange(kept)))
    first, second = table[counts].unbind(1)  # (N, 2) each, of the items that count
    if are_shares(*table[counts].unbind(-1)):  # if all agree, the bound of ``ratio_interval``, as for one training
        might = 1 - INTERVAL[0] ** (1 / count)
        if others is not None and bool((first[..., 0] == second[..., 0]).all()):
            low, high = -might, might
        elif others is None and bool((first[..., 0] == value).all()) and value in (0.0, 1.0):
            low, high = (0.0, might) if value == 0 else (1 - might, 1.0)
    alone = [float(mean_over(training.sum(0)[None], torch.zeros(1, dtype=torch.long))) for training in table]
    agree = others is None or all(difference * value > 0 for difference in alone)
    return Pooled(value, low, high, count, kept, agree)


def are_shares(numerators: Tensor, denominators: Tensor) -> bool:
    """Return whether every item counts 0 or 1 of 1, for which the exact bounds hold."""
    return bool(((denominators == 1) & ((numerators == 0) | (numerators == 1))).all())


def draw(items: int, seed: int) -> Tensor:
    """Draw items with replacement, as many as there are, for each of the resamples (R, N)."""
    return torch.randint(items, (RESAMPLES, items), generator=torch.Generator().manual_seed(seed))


def resampled(numerators: Tensor, denominators: Tensor, drawn: Tensor) -> Tensor:
    """Return the ratio (R,) of each resample; NaN if its denominators are all 0."""
    return numerators.double()[drawn].sum(1) / denominators.double()[drawn].sum(1)
