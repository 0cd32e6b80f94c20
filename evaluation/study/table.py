"""Table of a study: each column pooled over seeds, differences to the first row, and results of the claims."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from spectron.evaluation.comparison.comparability import require_comparable
from spectron.evaluation.comparison.comparing import is_better
from spectron.evaluation.metrics import NumeratorAndDenominator
from spectron.evaluation.metrics.intervals import Pooled, pooled_bootstrap
from spectron.evaluation.report import MODEL, StoredEvaluation, read_evaluation
from spectron.evaluation.report.figures import decimals, figure
from spectron.evaluation.report.metric_tables import (
    VERDICTS,
    Cell,
    interval,
    markdown_table,
    markdown_text,
    metric_label,
)
from spectron.evaluation.study.study import NOTED, Claim, Job, Row, Study
from spectron.tracking.measure import ARROWS, text_table

HELD, FAILED, UNCLEAR = "held", "did not hold", "cannot be told at this size"
ABSENT, EMPTY = "was not run", "cannot be measured: no item counts in both rows"
EXPLANATION = "Mean over seeds [95 % interval over seeds and items]; below it the difference to the first row."

BySeed = dict[int, StoredEvaluation]  # evaluations of one row


@dataclass(frozen=True)
class Entry:
    """Value of a row in a column, and its difference to the first row; ``better`` is None if that may be chance."""

    value: Pooled
    difference: Pooled | None
    better: bool | None


@dataclass
class StudyTable:
    """Values and claims of a study.

    Args:
        name: Name of the study.
        columns: Unit and direction (``higher_is_better``) of each column ``<task>/<measure>``.
        rows: Rows of the study by name.
        entries: Values by row and column; a column without a value is missing.
        seeds: Seeds that each row has been run with.
        verdicts: Each claim with its result and the difference that decides it.
    """

    name: str
    columns: dict[str, tuple[str, bool | None]]
    rows: dict[str, Row]
    entries: dict[str, dict[str, Entry]]
    seeds: dict[str, list[int]]
    verdicts: list[tuple[Claim, str, Pooled | None]]

    def heading(self, column: str) -> str:
        """Return name, direction and unit of a column."""
        unit, higher_is_better = self.columns[column]
        return metric_label(column, unit, ARROWS[higher_is_better])

    def cells(self, row: str) -> list[Cell]:
        """Return the cells of a row, one per column."""
        cells = []
        for column in self.columns:
            entry = self.entries[row].get(column)
            if entry is None:
                cells.append(Cell(""))
                continue
            value = entry.value
            places = decimals([value.value, value.low, value.high])
            ends = interval(value.low, value.high, places, between=", ")
            difference = _signed(entry.difference) if entry.difference else ""
            cells.append(Cell(figure(value.value, places), ends, difference=difference, verdict=VERDICTS[entry.better]))
        return cells


def table_of(study: Study, jobs: list[Job]) -> StudyTable:
    """Return the table of finished jobs.

    Raises:
        ConfigError: if the evaluations of a row differ in items, judges or settings.
    """
    evaluations: dict[str, BySeed] = {name: {} for name in study.rows}
    for job in jobs:
        evaluations[job.row][job.seed] = read_evaluation(Path(job.noted()["evaluation"]))
    for row, of_row in evaluations.items():
        if len(of_row) > 1:
            again = ", ".join(str(job.folder / NOTED) for job in jobs if job.row == row)
            cure = f"remove {again} and repeat the command, which evaluates row {row} again"
            require_comparable(list(of_row.values()), cure)
    columns = {}
    for column in study.columns:
        task, _, name = column.partition("/")
        having = [e for of_row in evaluations.values() for e in of_row.values() if task in e.tasks]
        measures = [measure for e in having if (measure := e.measures(task, MODEL).get(name)) is not None]
        columns[column] = (measures[0].unit, measures[0].higher_is_better) if measures else ("", None)
    entries: dict[str, dict[str, Entry]] = {row: {} for row in study.rows}
    for row in study.rows:
        for column, (_, higher_is_better) in columns.items():
            parts = [_parts_of(evaluation, column) for evaluation in evaluations[row].values()]
            if any(part is not None for of_seed in parts for part in of_seed.values()):
                first = None if row == study.first else evaluations[study.first]
                difference = None if first is None else _difference(evaluations[row], first, column)
                better = is_better(difference, higher_is_better) if difference else None
                entries[row][column] = Entry(pooled_bootstrap(_on_common_items(parts)), difference, better)
    seeds = {row: sorted(of_row) for row, of_row in evaluations.items()}
    verdicts = [(claim, *_verdict(claim, study.first, evaluations, columns)) for claim in study.claims]
    return StudyTable(study.name, columns, study.rows, entries, seeds, verdicts)


def _difference(row: BySeed, other: BySeed, column: str) -> Pooled | None:
    """Return the difference of two rows on the items and seeds that both have; None if there is none."""
    seeds = sorted(row.keys() & other.keys())
    if not seeds:
        return None
    parts = _on_common_items([_parts_of(evaluations[seed], column) for evaluations in (row, other) for seed in seeds])
    if not parts[0]:
        return None
    difference = pooled_bootstrap(parts[: len(seeds)], parts[len(seeds) :])
    return None if math.isnan(difference.value) else difference


def _parts_of(evaluation: StoredEvaluation, column: str) -> dict[str, NumeratorAndDenominator]:
    """Return the parts of all items in a column by id, those of one split if the column names a split."""
    task, _, name = column.partition("/")
    metric, _, split = name.partition("/")
    items = evaluation.items_of(task, MODEL) if task in evaluation.tasks else {}
    return {key: item.parts.get(metric) for key, item in items.items() if not split or item.split == split}


def _on_common_items(trainings: list[dict[str, NumeratorAndDenominator]]) -> list[list[NumeratorAndDenominator]]:
    """Return the parts of the items that all trainings have, in the same order."""
    common = [key for key in trainings[0] if all(key in parts for parts in trainings)]
    return [[parts[key] for key in common] for parts in trainings]


def _verdict(
    claim: Claim, first: str, evaluations: dict[str, BySeed], columns: dict[str, tuple[str, bool | None]]
) -> tuple[str, Pooled | None]:
    """Return the result of a claim, and the difference that decides it."""
    row, other = evaluations[claim.row], evaluations[claim.than or first]
    difference = _difference(row, other, claim.measure)
    if difference is None:
        return (EMPTY if row.keys() & other.keys() else ABSENT), None
    better = is_better(difference, columns[claim.measure][1])
    if better is None:
        return UNCLEAR, difference
    return (HELD if better == (claim.expected == "better") else FAILED), difference


def render(table: StudyTable) -> Table:
    """Return the table for the terminal; clear differences are green if they are better and red if they are worse."""
    columns = [Column("row", overflow="fold"), Column("seeds", justify="right")]
    for column in table.columns:
        # Spaces let a narrow column break between the words of a name.
        spaced = column.replace("_", " ").replace("/", " / ")
        columns.append(Column(table.heading(column).replace(column, spaced, 1), overflow="fold"))
    rows: list[list[str | Text]] = []
    for name, row in table.rows.items():
        cells = (cell.terminal(verdict=False) for cell in table.cells(name))
        rows.append([row.title, str(len(table.seeds[name])), *cells])
    title = f"{table.name}: mean over seeds [95 % interval]; below, difference to the first row"
    return text_table(title, columns, rows, min_width=None)


def as_markdown(table: StudyTable) -> str:
    """Return the table as Markdown, followed by a table of the claims."""
    headings = ["row", "seeds", *map(table.heading, table.columns)]
    published = any(row.published is not None for row in table.rows.values())
    headings += ["published"] if published else []
    rows = []
    for name, row in table.rows.items():
        cells = [row.title, str(len(table.seeds[name])), *(cell.markdown() for cell in table.cells(name))]
        rows.append(cells + ([figure(row.published) if row.published is not None else ""] if published else []))
    lines = [f"# {markdown_text(table.name)}", "", EXPLANATION, "", *markdown_table(headings, rows)]
    if table.verdicts:
        lines += ["", "| claim | | by |", "|---|---|---|"]
        for claim, verdict, by in table.verdicts:
            lines.append(f"| {markdown_text(claim.says)} | {verdict} | {markdown_text(_evidence(claim, by))} |")
    return "\n".join(lines) + "\n"


def as_csv(table: StudyTable) -> str:
    """Return a CSV with a line per row and column; numbers are not rounded."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    described, measured = ("row", "column", "unit", "higher_is_better"), ("seeds", "items", "value", "low", "high")
    writer.writerow([*described, *measured, "difference", "difference_low", "difference_high"])
    for name, entries in table.entries.items():
        seeds = " ".join(map(str, table.seeds[name]))
        for column, entry in entries.items():
            value, other = entry.value, entry.difference
            values: list[float | str] = [value.count, value.value, value.low, value.high]
            values += ["", "", ""] if other is None else [other.value, other.low, other.high]
            writer.writerow([name, column, *table.columns[column], seeds, *values])
    return file.getvalue()


def verdict_lines(table: StudyTable) -> list[str]:
    """Return a line for each claim: its result, the claim, and the difference that decides it."""
    return [f"{verdict}: {claim.says} ({_evidence(claim, by)})" for claim, verdict, by in table.verdicts]


def _evidence(claim: Claim, difference: Pooled | None) -> str:
    """Return the column of a claim and its difference, with a remark if only one seed was compared."""
    if difference is None:
        return claim.measure
    return f"{claim.measure} {_signed(difference)}{', one seed only' if difference.trainings == 1 else ''}"


def _signed(difference: Pooled) -> str:
    """Return a difference and its interval with signs."""
    places = decimals([difference.value, difference.low, difference.high])
    ends = interval(difference.low, difference.high, places, sign=True, between=", ")
    return f"{figure(difference.value, places, sign=True)} [{ends}]"
