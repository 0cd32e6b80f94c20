"""Comparison of evaluations: values, and differences on the same items with paired bootstrap intervals."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spectron.errors import ConfigError
from spectron.evaluation.comparison.comparability import Difference, find_differences, require_comparable
from spectron.evaluation.metrics import NumeratorAndDenominator, PairedDifference, paired_bootstrap, ratio_interval
from spectron.evaluation.metrics.intervals import Pooled
from spectron.evaluation.report import MODEL, StoredEvaluation, StoredItem, StoredMeasure, read_evaluation
from spectron.evaluation.report.metric_tables import ordered_names

LETTERS = string.ascii_uppercase  # short names of the evaluations, in their order
LEAST_ITEMS = 6  # of five items, even a sign test with five equal signs has p = 2 / 2**5 > 0.05


@dataclass(frozen=True)
class Contrast:
    """Value of an evaluation minus the value of the first one, on the items that both could measure.

    ``better`` is None if the interval contains zero or the metric has no direction.
    """

    difference: PairedDifference
    better: bool | None


@dataclass
class ComparedMetric:
    """Metric in each evaluation, and the differences to the first one; a missing value is None.

    ``measures`` and ``contrasts`` have one entry per evaluation; the first contrast is always None.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    measures: list[StoredMeasure | None]
    contrasts: list[Contrast | None]


@dataclass
class ComparedTask:
    """Task on the items that all evaluations share; ``left_out`` counts the other items of each evaluation."""

    name: str
    items: int
    left_out: list[int]
    metrics: list[ComparedMetric]


@dataclass
class EvaluationComparison:
    """Comparison of evaluations on the items that they share, each with a letter.

    Args:
        evaluations: The evaluations; all others are compared with the first one.
        tasks: The compared values.
        different: Conditions that differ although the evaluations were compared.
    """

    evaluations: list[StoredEvaluation]
    tasks: list[ComparedTask]
    different: list[Difference]

    @property
    def letters(self) -> str:
        """Return a letter for each evaluation, in their order."""
        return LETTERS[: len(self.evaluations)]

    @property
    def references(self) -> list[str]:
        """Return the name of each system; equal names are followed by the start of the folder's name."""
        names = [str(evaluation.results["system"]["reference"]) for evaluation in self.evaluations]
        folders = [evaluation.folder.name[:8] for evaluation in self.evaluations]
        return [
            f"{name} ({folder})" if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)
        ]


def compare_evaluations(folders: list[Path], allow_different: bool = False) -> EvaluationComparison:
    """Compare the systems under test of finished evaluations.

    Args:
        folders: Folders of 2 to 26 evaluations.
        allow_different: Whether to compare evaluations with different conditions on the items that they share.

    Raises:
        DataError: if a folder contains no finished evaluation.
        ConfigError: if there are fewer than 2 or more than 26 folders, their conditions differ, or they share no item.
    """
    if not 2 <= len({folder.resolve() for folder in folders}) == len(folders) <= len(LETTERS):
        raise ConfigError(
            f"a comparison needs 2 to {len(LETTERS)} different evaluations, "
            f"got {', '.join(map(str, folders)) or 'none'}"
        )
    evaluations = [read_evaluation(folder) for folder in folders]
    if not allow_different:
        require_comparable(evaluations)
    reduced = _reduce(evaluations)
    tasks = [_compare_task(task, evaluations, reduced) for task in reduced[0].tasks if reduced[0].items_of(task, MODEL)]
    if not tasks:
        raise ConfigError(f"{', '.join(map(str, folders))} share no item of a task, so there is nothing to compare")
    return EvaluationComparison(reduced, tasks, find_differences(evaluations))


def _reduce(evaluations: list[StoredEvaluation]) -> list[StoredEvaluation]:
    """Return the evaluations with only the items of the system under test that all have, in the order of the first."""
    models = [[item for item in evaluation.items if item.system == MODEL] for evaluation in evaluations]
    keyed = [{(item.task, item.id): item for item in items} for items in models]
    common = [key for key in keyed[0] if all(key in items for items in keyed)]
    return [
        replace(evaluation, items=[items[key] for key in common])
        for evaluation, items in zip(evaluations, keyed, strict=True)
    ]


def _compare_task(task: str, evaluations: list[StoredEvaluation], reduced: list[StoredEvaluation]) -> ComparedTask:
    """Compare a task; if items were left out, compute the values again from the parts of the shared items."""
    shared = [list(evaluation.items_of(task, MODEL).values()) for evaluation in reduced]
    left_out = [len(evaluation.items_of(task, MODEL)) - len(shared[0]) for evaluation in evaluations]
    columns = [evaluation.measures(task, MODEL) for evaluation in evaluations]
    if any(left_out):  # the stored values cover other items
        columns = [_measure_again(column, items) for column, items in zip(columns, shared, strict=True)]
    metrics = []
    for name in ordered_names(columns):
        row = [column.get(name) for column in columns]
        first = next(measure for measure in row if measure is not None)
        contrasts: list[Contrast | None] = [None]
        for items in shared[1:]:
            difference = paired_bootstrap(_parts(name, items), _parts(name, shared[0]))
            better = is_better(difference, first.higher_is_better)
            contrasts.append(None if math.isnan(difference.value) else Contrast(difference, better))
        metrics.append(ComparedMetric(name, first.unit, first.higher_is_better, row, contrasts))
    return ComparedTask(task, len(shared[0]), left_out, metrics)


def _measure_again(measures: dict[str, StoredMeasure], items: list[StoredItem]) -> dict[str, StoredMeasure]:
    """Return the values over these items; metrics that do not follow from the parts of these items are left out."""
    again = {}
    for name, measure in measures.items():
        if measure.among_all:
            continue
        parts = _parts(name, items)
        used = [pair for pair in parts if pair is not None]
        if any(name.partition("/")[0] in item.parts for item in items):
            sums = torch.tensor(used, dtype=torch.double).reshape(-1, 2)
            low, high = ratio_interval(sums[:, 0], sums[:, 1]) if len(used) > 1 else (None, None)
            total = float(sums[:, 1].sum())
            weight = dict.fromkeys(measure.weight, total)
            value = float(sums[:, 0].sum()) / total if total else None
            skipped = len(parts) - len(used)
            again[name] = replace(
                measure, value=value, low=low, high=high, count=len(used), skipped=skipped, weight=weight
            )
    return again


def is_better(difference: PairedDifference | Pooled, higher_is_better: bool | None) -> bool | None:
    """Return whether a difference is clearly better (True) or clearly worse (False).

    Return None if the interval contains zero, the metric has no direction, there are too few items, or the trainings
    disagree in sign: two or three trainings say little about their spread, so chance would look clear too often.
    """
    clear = difference.count >= LEAST_ITEMS and (difference.low > 0 or difference.high < 0)
    clear = clear and (not isinstance(difference, Pooled) or difference.agree)
    return (difference.value > 0) == higher_is_better if clear and higher_is_better is not None else None


def _parts(name: str, items: Iterable[StoredItem]) -> list[NumeratorAndDenominator]:
    """Return a metric's numerators and denominators, of one split if the name contains a split."""
    metric, _, split = name.partition("/")
    return [item.parts.get(metric) for item in items if not split or item.split == split]
