"""Evaluations side by side: values, and differences on the same items with paired bootstrap intervals."""

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

LETTERS = string.ascii_uppercase  # names of the evaluations, in their order
LEAST_ITEMS = 6  # below, a sign test in which all agree does not reach one in twenty


@dataclass(frozen=True)
class Contrast:
    """An evaluation's value minus the first one's, on the items that both could measure.

    ``better`` is None where the interval holds zero, or the metric has no direction.
    """

    difference: PairedDifference
    better: bool | None


@dataclass
class ComparedMetric:
    """A metric in each evaluation, and the differences of all but the first to it; None where there is no such figure."""

    name: str
    unit: str
    higher_is_better: bool | None
    measures: list[StoredMeasure | None]
    contrasts: list[Contrast | None]


@dataclass
class ComparedTask:
    """A task on the items that all evaluations share; ``left_out`` counts what each of them has beyond those."""

    name: str
    items: int
    left_out: list[int]
    metrics: list[ComparedMetric]


@dataclass
class EvaluationComparison:
    """Evaluations, reduced to the items that they share, with a letter for each.

    Args:
        evaluations: Their content; the first is what the others are compared with.
        tasks: The figures.
        different: What differs between them although they were compared.
    """

    evaluations: list[StoredEvaluation]
    tasks: list[ComparedTask]
    different: list[Difference]

    @property
    def letters(self) -> str:
        """A short name for each evaluation, in their order."""
        return LETTERS[: len(self.evaluations)]

    @property
    def references(self) -> list[str]:
        """What was evaluated in each; with the beginning of its folder's name where another one has evaluated the same."""
        names = [str(evaluation.results["system"]["reference"]) for evaluation in self.evaluations]
        folders = [evaluation.folder.name[:8] for evaluation in self.evaluations]
        return [
            f"{name} ({folder})" if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)
        ]


def compare_evaluations(folders: list[Path], allow_different: bool = False) -> EvaluationComparison:
    """Compare the systems under test of finished evaluations.

    Args:
        folders: Two or more evaluations' folders.
        allow_different: Whether evaluations of other items, judges or settings are compared all the same, on the items they share.

    Raises:
        DataError: if a folder holds no finished evaluation.
        ConfigError: if there are fewer than two or more than 26, if they were not made alike, or share no item.
    """
    if not 2 <= len({folder.resolve() for folder in folders}) == len(folders) <= len(LETTERS):
        raise ConfigError(
            f"a comparison takes 2 to 26 different evaluations, got {', '.join(map(str, folders)) or 'none'}"
        )
    evaluations = [read_evaluation(folder) for folder in folders]
    if not allow_different:
        require_comparable(evaluations)
    reduced = _reduce(evaluations)
    tasks = [_compare_task(task, evaluations, reduced) for task in reduced[0].tasks if reduced[0].items_of(task, MODEL)]
    if not tasks:
        raise ConfigError(f"{', '.join(map(str, folders))} share no item of a task: there is nothing to compare")
    return EvaluationComparison(reduced, tasks, find_differences(evaluations))


def _reduce(evaluations: list[StoredEvaluation]) -> list[StoredEvaluation]:
    """The evaluations with those items of the system under test alone that all of them have, in the first one's order."""
    models = [[item for item in evaluation.items if item.system == MODEL] for evaluation in evaluations]
    keyed = [{(item.task, item.id): item for item in items} for items in models]
    common = [key for key in keyed[0] if all(key in items for items in keyed)]
    return [
        replace(evaluation, items=[items[key] for key in common])
        for evaluation, items in zip(evaluations, keyed, strict=True)
    ]


def _compare_task(task: str, evaluations: list[StoredEvaluation], reduced: list[StoredEvaluation]) -> ComparedTask:
    shared = [list(evaluation.items_of(task, MODEL).values()) for evaluation in reduced]
    left_out = [len(evaluation.items_of(task, MODEL)) - len(shared[0]) for evaluation in evaluations]
    columns = [evaluation.measures(task, MODEL) for evaluation in evaluations]
    if any(left_out):  # what was stored covers other items
        columns = [_measure_again(column, items) for column, items in zip(columns, shared, strict=True)]
    metrics = []
    for name in ordered_names(columns):
        row = [column.get(name) for column in columns]
        known = next(measure for measure in row if measure is not None)
        contrasts = [None, *(_contrast(name, known.higher_is_better, shared[0], items) for items in shared[1:])]
        metrics.append(ComparedMetric(name, known.unit, known.higher_is_better, row, contrasts))
    return ComparedTask(task, len(shared[0]), left_out, metrics)


def _measure_again(measures: dict[str, StoredMeasure], items: list[StoredItem]) -> dict[str, StoredMeasure]:
    """The measures over these items; those that do not add up from items, or only among all that there were, are left out."""
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


def _contrast(
    name: str, higher_is_better: bool | None, first: list[StoredItem], other: list[StoredItem]
) -> Contrast | None:
    difference = paired_bootstrap(_parts(name, other), _parts(name, first))
    if math.isnan(difference.value):
        return None
    return Contrast(difference, is_better(difference, higher_is_better))


def is_better(difference: PairedDifference | Pooled, higher_is_better: bool | None) -> bool | None:
    """Whether a difference is one for the better.

    None where its interval holds zero, there is no direction, the items are too few to tell anything, or not all trainings agree: the
    spread of two or three is hardly known, and chance would otherwise look clear far too often.
    """
    clear = difference.count >= LEAST_ITEMS and (difference.low > 0 or difference.high < 0)
    clear = clear and (not isinstance(difference, Pooled) or difference.agree)
    return (difference.value > 0) == higher_is_better if clear and higher_is_better is not None else None


def _parts(name: str, items: Iterable[StoredItem]) -> list[NumeratorAndDenominator]:
    """A metric's numerators and denominators, of one split where the name says so."""
    metric, _, split = name.partition("/")
    return [item.parts.get(metric) for item in items if not split or item.split == split]
