"""A study's table: every column pooled over seeds, differences to the first row, and what became of the claims."""

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
from spectron.evaluation.comparison.comparison_table import STYLES
from spectron.evaluation.metrics import NumeratorAndDenominator
from spectron.evaluation.metrics.intervals import Pooled, pooled_bootstrap
from spectron.evaluation.report import MODEL, StoredEvaluation, read_evaluation
from spectron.evaluation.report.figures import decimals, figure
from spectron.evaluation.study.study import NOTED, Claim, Job, Row, Study
from spectron.tracking.measure import ARROWS, text_table

HELD, FAILED, UNCLEAR = "held", "did not hold", "cannot be told at this size"
ABSENT, EMPTY = "was not run", "cannot be measured: no item counts in both rows"


@dataclass(frozen=True)
class Entry:
    """A row's figure in a column, and its difference to the first row; ``better`` is None where the difference may be chance."""

    value: Pooled
    difference: Pooled | None
    better: bool | None


@dataclass
class StudyTable:
    """All figures of a study.

    Args:
        name: The study's.
        columns: ``<task>/<measure>`` with unit and direction.
        rows: The rows as the study says them.
        entries: By row and column; a column that a row lacks is missing.
        seeds: Seeds that each row has.
        verdicts: What became of each claim, with the difference that it rests on.
    """

    name: str
    columns: dict[str, tuple[str, bool | None]]
    rows: dict[str, Row]
    entries: dict[str, dict[str, Entry]]
    seeds: dict[str, list[int]]
    verdicts: list[tuple[Claim, str, Pooled | None]]


def table_of(study: Study, jobs: list[Job]) -> StudyTable:
    """The table of the jobs that are done.

    Raises:
        ConfigError: if a row's evaluations are not of the same items and judges.
    """
    evaluations: dict[str, dict[int, StoredEvaluation]] = {name: {} for name in study.rows}
    for job in jobs:
        evaluations[job.row][job.seed] = read_evaluation(Path(job.noted()["evaluation"]))
    for row, of_row in evaluations.items():
        if len(of_row) > 1:
            again = ", ".join(str(job.folder / NOTED) for job in jobs if job.row == row)
            require_comparable(list(of_row.values()), f"remove {again} and repeat, which evaluates row {row} again")
    columns: dict[str, tuple[str, bool | None]] = {}
    for column in study.columns:
        task, _, name = column.partition("/")
        found = [
            e.measures(task, MODEL).get(name)
            for of_row in evaluations.values()
            for e in of_row.values()
            if task in e.tasks
        ]
        known = next((measure for measure in found if measure is not None), None)
        columns[column] = (known.unit, known.higher_is_better) if known else ("", None)
    entries = {
        row: {
            column: entry
            for column, (_, up) in columns.items()
            if (entry := _entry(evaluations, study.first, row, column, up))
        }
        for row in study.rows
    }
    seeds = {row: sorted(of_row) for row, of_row in evaluations.items()}
    verdicts = [(claim, *_verdict(claim, study.first, evaluations, columns)) for claim in study.claims]
    return StudyTable(study.name, columns, study.rows, entries, seeds, verdicts)


def _entry(
    evaluations: dict[str, dict[int, StoredEvaluation]], first: str, row: str, column: str, up: bool | None
) -> Entry | None:
    mine = [_parts(evaluation, column) for evaluation in evaluations[row].values()]
    if not mine or not any(any(part is not None for part in parts.values()) for parts in mine):
        return None
    value = pooled_bootstrap(_aligned(mine))
    difference = None if row == first else _difference(evaluations[row], evaluations[first], column)
    return Entry(value, difference, is_better(difference, up) if difference else None)


def _difference(mine: dict[int, StoredEvaluation], theirs: dict[int, StoredEvaluation], column: str) -> Pooled | None:
    """One row less another on the items and seeds that both have."""
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        return None
    aligned = _aligned([_parts(row[seed], column) for row in (mine, theirs) for seed in common])
    if not aligned[0]:
        return None
    difference = pooled_bootstrap(aligned[: len(common)], aligned[len(common) :])
    return None if math.isnan(difference.value) else difference


def _parts(evaluation: StoredEvaluation, column: str) -> dict[str, NumeratorAndDenominator]:
    """What each item adds to a column, by its id."""
    task, _, name = column.partition("/")
    metric, _, split = name.partition("/")
    items = evaluation.items_of(task, MODEL) if task in evaluation.tasks else {}
    return {key: item.parts.get(metric) for key, item in items.items() if not split or item.split == split}


def _aligned(rows: list[dict[str, NumeratorAndDenominator]]) -> list[list[NumeratorAndDenominator]]:
    """The parts of the items that all have, in one order."""
    common = [key for key in rows[0] if all(key in row for row in rows)]
    return [[row[key] for key in common] for row in rows]


def _verdict(
    claim: Claim,
    first: str,
    evaluations: dict[str, dict[int, StoredEvaluation]],
    columns: dict[str, tuple[str, bool | None]],
) -> tuple[str, Pooled | None]:
    mine, theirs = evaluations[claim.row], evaluations[claim.than or first]
    difference = _difference(mine, theirs, claim.measure)
    if difference is None:
        return (EMPTY if mine.keys() & theirs.keys() else ABSENT), None
    better = is_better(difference, columns[claim.measure][1])
    if better is None:
        return UNCLEAR, difference
    return (HELD if better == (claim.expected == "better") else FAILED), difference


def render(table: StudyTable) -> Table:
    """For the terminal: under each value with its interval the difference to the first row."""
    columns = [Column("row", overflow="fold"), Column("seeds", justify="right")]
    for column in table.columns:
        spaced = column.replace("_", " ").replace("/", " / ")  # which a narrow column breaks between its words
        columns.append(Column(Text(_heading(table, column).replace(column, spaced, 1)), overflow="fold"))
    rows: list[list[str | Text]] = []
    for name, row in table.rows.items():
        cells = [table.entries[name].get(column) for column in table.columns]
        texts = [_texts(table, column, entry) for column, entry in zip(table.columns, cells, strict=True)]
        styled = [
            Text.assemble(value, (f"\n{difference}" if difference else "", STYLES[entry.better if entry else None]))
            for (value, difference), entry in zip(texts, cells, strict=True)
        ]
        rows.append([row.title, str(len(table.seeds[name])), *styled])
    title = Text(f"{table.name}: mean over seeds [95 % interval]; below, difference to the first row")
    return text_table(title, columns, rows, min_width=None)


def as_markdown(table: StudyTable) -> str:
    """For a page: the table, and a line for each claim."""
    published = any(row.published is not None for row in table.rows.values())
    headings = [
        "row",
        "seeds",
        *(_heading(table, column) for column in table.columns),
        *(["published"] if published else []),
    ]
    lines = [
        f"# {table.name}",
        "",
        "Mean over seeds [95 % interval over seeds and items]; below it the difference to the first row.",
        "",
    ]
    lines += ["| " + " | ".join(headings) + " |", "|---" + "|---:" * (len(headings) - 1) + "|"]
    for name, row in table.rows.items():
        texts = [_texts(table, column, table.entries[name].get(column)) for column in table.columns]
        cells = ["<br>".join(part for part in pair if part) for pair in texts]
        cells += [figure(row.published) if row.published is not None else ""] if published else []
        lines.append("| " + " | ".join([row.title.replace("|", "\\|"), str(len(table.seeds[name])), *cells]) + " |")
    if table.verdicts:
        lines += ["", "| claim | | by |", "|---|---|---|"]
        lines += [
            f"| {claim.says} | {verdict} | {_ground(claim, difference)} |"
            for claim, verdict, difference in table.verdicts
        ]
    return "\n".join(lines) + "\n"


def as_csv(table: StudyTable) -> str:
    """For programs: a line a row and column."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["row", "column", "unit", "higher_is_better", "seeds", "items", "value", "low", "high"]
        + [f"difference{end}" for end in ("", "_low", "_high")]
    )
    for name, entries in table.entries.items():
        for column, entry in entries.items():
            value, other = entry.value, entry.difference
            against = ["", "", ""] if other is None else [other.value, other.low, other.high]
            seeds = " ".join(map(str, table.seeds[name]))
            writer.writerow(
                [name, column, *table.columns[column], seeds, value.count, value.value, value.low, value.high, *against]
            )
    return file.getvalue()


def verdict_lines(table: StudyTable) -> list[str]:
    """A sentence for each claim."""
    return [f"{verdict}: {claim.says} ({_ground(claim, difference)})" for claim, verdict, difference in table.verdicts]


def _ground(claim: Claim, difference: Pooled | None) -> str:
    if difference is None:
        return claim.measure
    return f"{claim.measure} {_signed(difference)}{', by one seed alone' if difference.trainings == 1 else ''}"


def _signed(difference: Pooled) -> str:
    places = decimals([difference.value, difference.low, difference.high])
    value, low, high = (
        figure(number, places, sign=True) for number in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"


def _heading(table: StudyTable, column: str) -> str:
    unit, up = table.columns[column]
    return f"{column} {ARROWS[up]}".rstrip() + (f", {unit}" if unit else "")


def _texts(table: StudyTable, column: str, entry: Entry | None) -> tuple[str, str]:
    """Value and difference."""
    if entry is None:
        return "-", ""
    v = entry.value
    places = decimals([v.value, v.low, v.high])
    value = f"{figure(v.value, places)} [{figure(v.low, places)}, {figure(v.high, places)}]"
    return value, _signed(entry.difference) if entry.difference else ""
