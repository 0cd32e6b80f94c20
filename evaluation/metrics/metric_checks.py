"""Checks of the contract of metrics, one function per check, on made-up samples with evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from spectron.conformance import Check, ContractViolation, DoesNotApply, Trial, register, require
from spectron.evaluation.made_up_samples import JUDGE, KINDS, incomplete_samples, usable_samples
from spectron.evaluation.metrics.metric import RatioMetric, SpokenMetric
from spectron.evaluation.metrics.names import SKIPPED, MetricSpec
from spectron.evaluation.sample import SpokenSample
from spectron.tracking.measure import MetricValue

STATE_CURE = "keep all that update changes in states: self.add_state(name, default, dist_reduce_fx='sum' or 'cat')"

Values = dict[str, tuple[float, int]]


def form(trial: Trial) -> str:
    """Check that it returns values with unit and direction, each once and under an announced name."""
    metric: SpokenMetric = trial.part
    if isinstance(metric, RatioMetric):
        labelled = isinstance(getattr(metric, "label", None), MetricSpec)
        require(
            labelled,
            "it sets no label: set label = MetricSpec(name, unit, whether higher is better or None) in the class",
        )
    if unknown := sorted(set(metric.needs) - {*KINDS, *metric.examples}):
        known, example = ", ".join(KINDS), f"examples = {{{unknown[0]!r}: [...]}}"
        raise ContractViolation(
            f"it needs {', '.join(unknown)}, and the platform's judges give {known}: correct `needs`, or, if a custom "
            f"judge gives it, set {example} with values for the made-up samples"
        )
    measures = _measures(trial, [usable(trial)])
    listed = (
        isinstance(measures, list) and bool(measures) and all(isinstance(measure, MetricValue) for measure in measures)
    )
    require(
        listed,
        f"measures returns {measures!r}: return a list of spectron.tracking.measure.MetricValue, the main one first",
    )
    names = [measure.name for measure in measures]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"measures returns {', '.join(twice)} more than once: give every value its own name")
    untold = sorted(set(names) - metric.measure_names())
    require(
        not untold,
        f"measures returns {', '.join(untold)}, and measure_names does not: add the name there, for monitors",
    )
    for measure in measures:
        said = isinstance(measure.unit, str) and measure.higher_is_better in (True, False, None)
        require(
            said,
            f"{measure.name} has unit {measure.unit!r} and direction {measure.higher_is_better!r}: "
            "use a text, and a bool or None",
        )
    ways = {True: "higher is better", False: "lower is better", None: "neither way better"}
    head = measures[0]
    used = f"{head.count} of {len(usable(trial))} made-up samples used"
    return f"{head.name} in {head.unit or 'no unit'}, {ways[head.higher_is_better]}; {used}"


def needs(trial: Trial) -> str:
    """Check that it returns the same without the evidence that it does not need."""
    wanted = sorted(trial.part.needs)
    bare = [
        replace(sample, evidence={JUDGE: {kind: sample.evidence[JUDGE][kind] for kind in wanted}})
        for sample in usable(trial)
    ]
    seen = f"with the evidence {', '.join(wanted) or 'of no judge'} alone it returns something else: complete `needs`"
    _require_same(_values(_measures(trial, [bare])), _whole(trial), seen)
    return f"needs {', '.join(wanted) or 'no evidence'}, and reads no other"


def pieces(trial: Trial) -> str:
    """Check that samples one by one give the same value as all at once."""
    whole = _whole(trial)
    seen = "samples one by one give something else than all at once: add up sums and counts, and divide in measures"
    _require_same(_values(_measures(trial, [[sample] for sample in usable(trial)])), whole, seen)
    return _shown(whole)


def order(trial: Trial) -> str:
    """Check that the order of the samples does not matter."""
    whole = _whole(trial)
    seen = "samples in reverse order give something else: let no sample depend on earlier ones"
    _require_same(_values(_measures(trial, [usable(trial)[::-1]])), whole, seen)
    return "the reverse order gives the same"


def reset(trial: Trial) -> str:
    """Check that a reset removes all earlier samples."""
    whole = _whole(trial)
    metric = trial.fresh()
    metric.update(usable(trial)[:2])
    metric.reset()
    metric.update(usable(trial))
    _require_same(_values(metric.measures()), whole, f"what came before a reset is in the result: {STATE_CURE}")
    return "nothing is left of what came before"


def ranks(trial: Trial) -> str:
    """Check that the merged states of several processes give the value of one process."""
    whole = _whole(trial)
    first, second, idle = trial.fresh(), trial.fresh(), trial.fresh()
    first.update(usable(trial)[:2])
    second.update(usable(trial)[2:])
    try:
        first.merge_state(second)
        first.merge_state(idle)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ContractViolation(f"its states do not add up over processes ({error}): {STATE_CURE}") from error
    _require_same(
        _values(first.measures()), whole, f"the states of several processes added up give something else: {STATE_CURE}"
    )
    return "three processes, one of them idle, add up to the whole"


def odd_samples(trial: Trial) -> str:
    """Check that incomplete samples are used or counted as skipped, alone and among others; no sample gives NaN."""
    told = []
    _require_sound(_measures(trial, []), 0, "no sample")
    for title, sample in incomplete_samples(trial.part.examples).items():
        among = _measures(trial, [[*usable(trial), sample]])
        _require_sound(among, len(usable(trial)) + 1, f"{len(usable(trial))} samples and {title}")
        alone = _measures(trial, [[sample]])
        _require_sound(alone, 1, f"{title} alone")
        broken = {
            name: score
            for name, score in trial.part.scores(sample).items()
            if score is not None and not math.isfinite(score)
        }
        require(not broken, f"scores gives {broken} for {title}: give None where a sample cannot be used")
        told += [title] if alone[0].count == 0 else []
    return f"skipped: {', '.join(told) or 'none'}"


def scores(trial: Trial) -> str:
    """Check that the scores of a sample equal the values of this sample alone."""
    for sample in usable(trial):
        alone = _values(_measures(trial, [[sample]]))
        for name, score in trial.part.scores(sample).items():
            value = alone.get(name, (score, 0))[0]
            same = (
                math.isnan(value or 0.0)
                if score is None
                else math.isclose(score, value or 0.0, rel_tol=1e-4, abs_tol=1e-6)
            )
            require(same, f"{name} of one sample: scores says {score}, measures {value}. Work both out in one place")
    return f"columns of the table of samples: {', '.join(trial.part.scores(usable(trial)[0]))}"


def usable(trial: Trial) -> list[SpokenSample]:
    """Return made-up samples with the evidence that the metric needs."""
    return usable_samples(trial.part.examples)


def _measures(trial: Trial, batches: Iterable[list[SpokenSample]]) -> list[MetricValue]:
    metric = trial.fresh()
    for batch in batches:
        metric.update(batch)
    return metric.measures()


def _values(measures: list[MetricValue]) -> Values:
    """Return values and counts by name. Intervals are left out: they depend on the order of the samples."""
    return {measure.name: (measure.value, measure.count) for measure in measures}


def _whole(trial: Trial) -> Values:
    measures = _measures(trial, [usable(trial)])
    if not measures[0].count:
        raise DoesNotApply("it can use none of the made-up samples")
    return _values(measures)


def _require_same(found: Values, wanted: Values, seen: str) -> None:
    for name, (value, count) in wanted.items():
        other, others = found.get(name, (math.nan, 0))
        same = count == others and (
            math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(value) and math.isnan(other))
        )
        require(same, f"{seen}. {name} is {other:.6g} of {others}, and should be {value:.6g} of {count}")


def _require_sound(measures: list[MetricValue], given: int, title: str) -> None:
    """Require a finite value of used samples, NaN if there is none, and every sample used or counted as skipped."""
    head = measures[0]
    if head.count:
        cure = "leave out a sample that has no value or no weight (in a RatioMetric, return None)"
        require(math.isfinite(head.value), f"{title}: {head.name} is {head.value}; {cure}")
    else:
        require(
            math.isnan(head.value),
            f"{title}: {head.name} is {head.value} of 0 items; give NaN, or it is taken for a result",
        )
    skipped = next((measure.value for measure in measures if measure.name == head.name + SKIPPED), 0)
    told = f"{title}: {head.count} used and {skipped:g} told as skipped, of {given}"
    require(
        head.count + skipped == given, f"{told}; count what cannot be used in a measure named {head.name + SKIPPED}"
    )


def _shown(values: Values) -> str:
    name, (value, count) = next(iter(values.items()))
    return f"{name} of {count} samples, one by one and at once: {value:.5g}"


CHECKS: tuple[Check, ...] = (form, needs, pieces, order, reset, ranks, odd_samples, scores)
register(SpokenMetric, "metric", CHECKS, form="form")
