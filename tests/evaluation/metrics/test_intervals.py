"""Intervals and paired differences against slow loops, closed forms and their coverage."""

import math
from dataclasses import replace

import pytest
import scipy.stats
import torch

from spectron.errors import ConfigError
from spectron.evaluation.comparison.comparing import is_better
from spectron.evaluation.metrics import PairedDifference, bootstrap_interval, paired_bootstrap, ratio_interval
from spectron.evaluation.metrics.intervals import Pooled, pooled_bootstrap


def ratio(parts) -> float:
    return sum(numerator for numerator, _ in parts) / sum(denominator for _, denominator in parts)


def test_interval_equals_slow_loop():
    numerators, denominators = torch.tensor([1.0, 0.0, 2.0, 5.0]), torch.tensor([4.0, 1.0, 2.0, 5.0])
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for drawn in torch.randint(4, (1000, 4), generator=generator).tolist():
        ratios.append(sum(numerators[i] for i in drawn) / sum(denominators[i] for i in drawn))
    ratios = torch.stack(ratios).sort().values
    low, high = bootstrap_interval(numerators, denominators)
    assert low == pytest.approx(float(ratios.quantile(0.025)), rel=1e-5)
    assert high == pytest.approx(float(ratios.quantile(0.975)), rel=1e-5)
    assert (low, high) == bootstrap_interval(numerators, denominators)


def test_interval_covers_true_value_as_stated():
    generator = torch.Generator().manual_seed(1)
    hits = 0
    for _ in range(100):
        values = torch.rand(40, generator=generator)
        low, high = bootstrap_interval(values, torch.ones(40))
        hits += low <= 0.5 <= high
    assert 88 <= hits <= 100


def test_interval_of_few_items_or_zero_weights():
    assert all(map(math.isnan, bootstrap_interval(torch.ones(1), torch.ones(1))))
    low, high = bootstrap_interval(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))
    assert (low, high) == (1.0, 1.0)


def test_interval_of_large_mean_equals_normal_theory():
    values = torch.rand(2000, generator=torch.Generator().manual_seed(2))
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    low, high = ratio_interval(values, torch.ones(2000))
    assert low == pytest.approx(float(values.mean()) - half, abs=0.1 * half)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.1 * half)


@pytest.mark.parametrize("items", [2, 10, 500])
@pytest.mark.parametrize("right", [0.0, 1.0])
def test_interval_of_equal_shares_is_exact(right, items):
    exact = scipy.stats.binomtest(int(right) * items, items).proportion_ci(0.95, method="exact")
    assert ratio_interval(torch.full((items,), right), torch.ones(items)) == pytest.approx((exact.low, exact.high))


def test_interval_is_bootstrap_unless_items_agree():
    for numerators, denominators in [([1.0, 1.0, 0.0], [1.0] * 3), ([0.0, 0.0], [3.0, 4.0]), ([0.5, 0.5], [1.0, 1.0])]:
        columns = torch.tensor(numerators), torch.tensor(denominators)
        assert ratio_interval(*columns) == bootstrap_interval(*columns)


def test_paired_difference_equals_slow_loop():
    first = [(1.0, 4.0), (0.0, 1.0), None, (2.0, 2.0), (5.0, 5.0)]
    second = [(1.0, 4.0), (1.0, 2.0), (1.0, 1.0), (0.0, 2.0), (1.0, 5.0)]
    pairs = [pair for pair in zip(first, second, strict=True) if pair[0] is not None]
    drawn = torch.randint(4, (1000, 4), generator=torch.Generator().manual_seed(0)).tolist()
    draws = [[pairs[i] for i in row] for row in drawn]
    differences = torch.tensor(
        [ratio([one for one, _ in row]) - ratio([other for _, other in row]) for row in draws], dtype=torch.double
    )
    found = paired_bootstrap(first, second)
    assert (found.value, found.count) == (pytest.approx(8 / 12 - 3 / 13), 4)
    assert found.low == pytest.approx(float(differences.quantile(0.025)))
    assert found.high == pytest.approx(float(differences.quantile(0.975)))
    assert found.p == pytest.approx(2 * (int((differences <= 0).sum()) + 1) / 1001)
    swapped = paired_bootstrap(second, first)
    assert (swapped.value, swapped.low, swapped.p) == (pytest.approx(-found.value), pytest.approx(-found.high), found.p)


def test_pairing_detects_difference_of_overlapping_intervals():
    """One system is better by 0.01 on every item. The items differ by far more, so the two intervals overlap."""
    hard = torch.rand(50, generator=torch.Generator().manual_seed(3)).tolist()
    found = paired_bootstrap([(value + 0.01, 1.0) for value in hard], [(value, 1.0) for value in hard])
    assert (found.low, found.high) == (pytest.approx(0.01), pytest.approx(0.01))
    assert found.p == pytest.approx(2 / 1001)


def test_p_of_equal_systems_and_of_chance():
    """Equal systems have p = 1. About one in twenty systems that differ by chance has p below 0.05."""
    parts = [(float(n % 3), 3.0) for n in range(20)]
    assert paired_bootstrap(parts, parts) == PairedDifference(0.0, 0.0, 0.0, 1.0, 20)
    cosines = [(0.1 + 0.04 * n, 1.0) for n in range(20)]
    assert paired_bootstrap(cosines, cosines) == PairedDifference(0.0, 0.0, 0.0, 1.0, 20), (
        "the exact bound is of yes and no alone"
    )
    assert pooled_bootstrap([cosines], [cosines]).high == 0.0
    generator = torch.Generator().manual_seed(4)
    values = torch.rand(100, 2, 40, generator=generator).tolist()
    p = [paired_bootstrap([(v, 1.0) for v in one], [(v, 1.0) for v in other]).p for one, other in values]
    assert 1 <= sum(value < 0.05 for value in p) <= 12


def test_paired_difference_refuses_other_items():
    with pytest.raises(ConfigError, match="got 1 and 2"):
        paired_bootstrap([(1.0, 1.0)], [(1.0, 1.0), None])
    nothing = paired_bootstrap([(1.0, 1.0), None], [(1.0, 1.0), (0.0, 1.0)])
    assert nothing.count == 1
    assert math.isnan(nothing.value)


def test_pooling_one_training_gives_its_value():
    parts = [(1.0, 4.0), (0.0, 1.0), (2.0, 2.0), (5.0, 5.0)]
    pooled = pooled_bootstrap([parts])
    assert (pooled.low, pooled.high) == pytest.approx(bootstrap_interval(*torch.tensor(parts).double().T), rel=1e-9)
    assert (pooled.value, pooled.count, pooled.trainings) == (pytest.approx(ratio(parts)), 4, 1)
    other = [(numerator / 2, denominator) for numerator, denominator in parts]
    paired, found = paired_bootstrap(parts, other), pooled_bootstrap([parts], [other])
    assert (found.value, found.low, found.high) == pytest.approx((paired.value, paired.low, paired.high))


def test_pooling_includes_spread_of_trainings():
    """With equal items, only trainings vary: of two trainings, each is drawn twice in a quarter of the draws."""
    pooled = pooled_bootstrap([[(0.2, 1.0)] * 30, [(0.6, 1.0)] * 30])
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx((0.4, 0.2, 0.6))
    same = pooled_bootstrap([[(0.2, 1.0)] * 30, [(0.6, 1.0)] * 30], [[(0.1, 1.0)] * 30, [(0.5, 1.0)] * 30])
    assert (same.value, same.low, same.high) == pytest.approx((0.1, 0.1, 0.1)), (
        "trainings are drawn for both kinds together"
    )


def test_pooled_difference_skips_items_of_one_side():
    one, other = [(1.0, 1.0), (0.0, 1.0), None, (1.0, 1.0)], [(0.0, 1.0), (0.0, 1.0), (9.0, 1.0), None]
    found = pooled_bootstrap([one], [other])
    assert (found.value, found.count) == (0.5, 2)
    assert math.isnan(pooled_bootstrap([[None, (1.0, 1.0)]]).value)
    with pytest.raises(ConfigError, match="the same items of all trainings"):
        pooled_bootstrap([one, one[:3]])
    with pytest.raises(ConfigError, match="the same trainings of both kinds"):
        pooled_bootstrap([one], [other, other])


def test_paired_interval_of_equal_items_has_width():
    """None of 24 items differs, but up to 1 - 0.025^(1/24) of all items still may."""
    found = paired_bootstrap([(0.0, 1.0)] * 24, [(0.0, 1.0)] * 24)
    assert (found.value, found.p) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-0.1425, 0.1425), abs=1e-4)
    mixed = [(float(place % 2), 1.0) for place in range(24)]
    assert paired_bootstrap(mixed, mixed).high == pytest.approx(0.1425, abs=1e-4)
    weighed = paired_bootstrap([(1.0, 5.0)] * 24, [(1.0, 5.0)] * 24)
    assert (weighed.low, weighed.high) == (0.0, 0.0), "no bound is known for values that are no shares"


def test_pooling_skips_training_without_items():
    one, empty = [(0.0, 1.0), (1.0, 1.0), (1.0, 1.0)], [None, None, None]
    assert pooled_bootstrap([one, empty]) == pooled_bootstrap([one])
    assert pooled_bootstrap([one, empty], [one, one]) == pooled_bootstrap([one], [one])


def test_exact_bound_uses_items_that_count():
    wrong, other = [*[(0.0, 1.0)] * 24, None], [*[(0.0, 1.0)] * 24, (1.0, 1.0)]
    expected = ratio_interval(*torch.tensor(wrong[:24]).double().T)
    assert (pooled_bootstrap([wrong]).low, pooled_bootstrap([wrong]).high) == pytest.approx(expected)
    assert pooled_bootstrap([wrong], [other]).low == pytest.approx(paired_bootstrap(wrong, other).low)


def test_pooling_reports_disagreeing_trainings():
    good, bad = [(1.0, 1.0)] * 20, [(0.0, 1.0)] * 20
    assert pooled_bootstrap([good, good], [bad, bad]).agree
    assert not pooled_bootstrap([good, bad], [bad, good]).agree
    assert not pooled_bootstrap([good, good], [bad, good]).agree, "no difference is no agreement"
    clear = Pooled(0.5, 0.1, 0.9, 20, 2)
    assert [is_better(one, True) for one in (clear, replace(clear, agree=False), replace(clear, count=5))] == [
        True,
        None,
        None,
    ]


@pytest.mark.parametrize(("items", "least"), [(2, 0.5), (5, 0.0625), (200, 2 / 1001)])
def test_p_of_few_agreeing_items_has_lower_bound(items, least):
    """The bound is the one of a sign test: few items often agree by chance."""
    assert paired_bootstrap([(1.0, 1.0)] * items, [(0.0, 1.0)] * items).p == pytest.approx(least)


def test_pooled_interval_of_equal_shares_has_width():
    wrong, right = [[(0.0, 1.0)] * 24] * 2, [[(1.0, 1.0)] * 24] * 2
    assert (pooled_bootstrap(wrong).low, pooled_bootstrap(wrong).high) == pytest.approx((0.0, 0.1425), abs=1e-4)
    assert (pooled_bootstrap(right).low, pooled_bootstrap(right).high) == pytest.approx((0.8575, 1.0), abs=1e-4)
    assert pooled_bootstrap(wrong, wrong).high == pytest.approx(0.1425, abs=1e-4)
    assert (pooled_bootstrap(right, wrong).low, pooled_bootstrap(right, wrong).high) == (1.0, 1.0)
    weighed = pooled_bootstrap([[(0.0, 5.0)] * 24])
    assert (weighed.low, weighed.high) == (0.0, 0.0)
