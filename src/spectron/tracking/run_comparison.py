"""Comparison of runs: the differences of their configurations, and their metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from spectron.errors import TrackingError
from spectron.terminal import visible
from spectron.tracking.measure import COUNTED, SKIPPED, number, text_table
from spectron.tracking.store import RunRecord, TrackingSettings, directions_of, find_run, list_runs

MOST_RUNS = 6
EVALUATION = "results.json"  # file of a finished evaluation in its folder
EMPTY = frozenset((None, "{}", "[]", "None"))  # stored values of a section without content
_PARTS = (".count", ".low", ".high")


@dataclass
class Measured:
    """Last value of a metric in one run, with the 95 % interval and the number of items if they were logged."""

    value: float
    low: float | None = None
    high: float | None = None
    count: int | None = None
    best: bool = False

    def __str__(self) -> str:
        ends = f" [{number(self.low)}, {number(self.high)}]" if self.low is not None and self.high is not None else ""
        count = f" n={self.count}" if self.count is not None else ""
        return number(self.value, missing="nan") + ends + count + (" *" if self.best else "")


@dataclass
class Row:
    """A metric across the runs: None for a run without it."""

    name: str
    unit: str
    higher_is_better: bool | None
    cells: list[Measured | None]


@dataclass
class Comparison:
    """Runs with their metrics and the parameters in which they differ.

    ``left_out`` counts the older runs of an experiment that are not shown.
    """

    runs: list[RunRecord]
    differences: dict[str, list[str | None]]
    rows: list[Row]
    left_out: int = 0


def compare(references: list[str], settings: TrackingSettings | None = None) -> Comparison:
    """Compare the runs that are named, or the newest runs if one experiment is named.

    Raises:
        TrackingError: if a name is unknown, or the names stand for fewer than two runs.
    """
    settings = settings or TrackingSettings()
    runs, left_out = _runs(references, settings)
    directions: dict[str, list[Any]] = {}
    for run in runs:
        directions |= directions_of(run.folder, run.run_id, settings)
    return Comparison(runs, _differences(runs), _rows(runs, directions), left_out)


def evaluation_folders(references: list[str], settings: TrackingSettings | None = None) -> list[Path]:
    """Find the folders of the named evaluations; the list is empty if the names stand for training runs.

    An evaluation is named by its folder, or by a run whose folder holds it. The name of one experiment stands for the
    evaluations of its newest runs, the oldest first.

    Raises:
        TrackingError: if only some names are evaluations, if a run holds several evaluations, if a name is unknown, or
            if the names stand for one run alone.
    """
    if len(references) == 1 and not Path(references[0]).is_dir():
        runs, _ = _runs(references, settings or TrackingSettings())
        inside = [_evaluation_in(run.folder, run.run_id) for run in reversed(runs)]
        known = [folder for folder in inside if folder is not None]
        return known if len(known) == len(runs) else []  # training runs are compared by their own metrics
    found = {reference: _evaluation_folder(reference, settings or TrackingSettings()) for reference in references}
    without = [reference for reference, folder in found.items() if folder is None]
    folders = {reference: folder for reference, folder in found.items() if folder is not None}
    if folders and without:
        raise TrackingError(
            f"evaluations cannot be compared with training runs: {', '.join(folders)} holds an evaluation, "
            f"{', '.join(without)} holds none. Evaluate the others as well, or name training runs only."
        )
    return list(folders.values())


def _evaluation_folder(reference: str, settings: TrackingSettings) -> Path | None:
    return _evaluation_in(
        Path(reference) if Path(reference).is_dir() else find_run(reference, settings).folder, reference
    )


def _evaluation_in(folder: Path, reference: str) -> Path | None:
    if (folder / EVALUATION).is_file():
        return folder
    inside = sorted(path.parent for path in folder.rglob(EVALUATION))
    if len(inside) > 1:
        raise TrackingError(f"{reference} holds {len(inside)} evaluations. Name one of {', '.join(map(str, inside))}.")
    return inside[0] if inside else None


def _runs(references: list[str], settings: TrackingSettings) -> tuple[list[RunRecord], int]:
    if len(references) == 1:
        named = find_run(references[0], settings)
        if references[0] != named.experiment:
            raise TrackingError(
                f"there is nothing to compare run {named.run_id[:8]} with. Name two runs, or an experiment."
            )
        found = list_runs(named.experiment, settings)
        runs, left_out = found[:MOST_RUNS], len(found[MOST_RUNS:])
    else:
        found = [find_run(reference, settings) for reference in references]
        runs, left_out = list({run.run_id: run for run in found}.values()), 0
    if len(runs) < 2:
        found_one = f"{len(runs)} run" + (f", {runs[0].run_id[:8]}" if runs else "s")
        raise TrackingError(
            f"a comparison needs at least two runs, and {', '.join(references) or 'no name'} stands for {found_one}. "
            "Name two runs, or an experiment that has two."
        )
    return runs, left_out


def _differences(runs: list[RunRecord]) -> dict[str, list[str | None]]:
    names = sorted({name for run in runs for name in run.params})
    values = {name: [run.params.get(name) for run in runs] for name in names}
    differing = {name: row for name, row in values.items() if len(set(row)) > 1}
    # A section that is empty in only some runs needs no row: its keys have their own rows.
    holds = {name for name in differing if any(other.startswith(f"{name}.") for other in differing)}
    return {name: row for name, row in differing.items() if name not in holds or {*row} - EMPTY}


def _rows(runs: list[RunRecord], directions: dict[str, list[Any]]) -> list[Row]:
    logged = {name for run in runs for name in run.metrics} - {"epoch"}
    # A metric without a value still has a count: nothing could be measured.
    bases = {name for name in logged if not name.endswith(_PARTS)} | set(directions)
    rows = []
    for name in sorted(bases):
        unit, higher = directions.get(name, ["", False if name.endswith("/loss") else None])
        row = Row(name, unit, higher, [_measured(run, name) for run in runs])
        _mark_best(row)
        if not _is_detail(row):
            rows.append(row)
    return rows


def _is_detail(row: Row) -> bool:
    """Return whether a row is a count behind a metric, or skipped items of which no run has any."""
    aspect = row.name.rpartition(".")[2]
    return aspect in COUNTED or (aspect == SKIPPED and all(cell is None or not cell.value for cell in row.cells))


def _measured(run: RunRecord, name: str) -> Measured | None:
    count = run.metrics.get(name + ".count")
    if name not in run.metrics and count is None:
        return None
    # MLflow keeps the last value of a metric, which is older than a last measurement that counted nothing.
    value = run.metrics.get(name, math.nan) if count != 0 else math.nan
    low, high = (run.metrics.get(name + end) for end in (".low", ".high"))
    return Measured(value, *((low, high) if value == value else (None, None)), None if count is None else round(count))


def _mark_best(row: Row) -> None:
    cells = [cell for cell in row.cells if cell is not None and cell.value == cell.value]
    if row.higher_is_better is None or len({cell.value for cell in cells}) < 2:
        return
    best = (max if row.higher_is_better else min)(cell.value for cell in cells)
    for cell in cells:
        cell.best = cell.value == best


def render(comparison: Comparison) -> Group:
    """Build tables for the terminal; the star of a row's best value is visible without colours too."""
    left_out = f" ({comparison.left_out} older runs not shown)" if comparison.left_out else ""
    differences = [
        [name, *("-" if value is None else value for value in values)]
        for name, values in comparison.differences.items()
    ]
    arrows = {True: " (higher is better)", False: " (lower is better)", None: ""}
    metrics: list[list[str | Text]] = []
    for row in comparison.rows:
        title = row.name + (f", {row.unit}" if row.unit else "") + arrows[row.higher_is_better]
        cells = [
            "-" if cell is None else Text(str(cell), style="bold green" if cell.best else "") for cell in row.cells
        ]
        metrics.append([title, *cells])
    return Group(
        _table(
            f"Configuration: differences only{left_out}", "key", comparison.runs, differences or [["(all the same)"]]
        ),
        _table("Metrics: last values [95 % interval], n items, * best", "metric", comparison.runs, metrics),
    )


def _table(title: str, first: str, runs: list[RunRecord], rows: Iterable[Sequence[str | Text]]) -> Table:
    columns = [Column(first, overflow="fold")]
    for run in runs:
        status = "" if run.status == "FINISHED" else f"\n{run.shown_status}"
        columns.append(Column(f"{visible(run.name)}\n{run.run_id[:8]}{status}", overflow="fold"))
    return text_table(title, columns, rows, min_width=None)
