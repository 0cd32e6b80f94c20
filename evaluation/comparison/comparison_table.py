"""A comparison as tables: for the terminal, as CSV, as Markdown, and as cells of a page."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from spectron.evaluation.comparison.comparing import (
    LETTERS,
    ComparedMetric,
    ComparedTask,
    Contrast,
    EvaluationComparison,
)
from spectron.evaluation.report.figures import decimals, figure
from spectron.evaluation.report.metric_tables import Heading, MeasureTable, interval, measure_table, shown_value
from spectron.tracking.measure import ARROWS, text_table

STYLES = {True: "bold green", False: "bold red", None: ""}
VERDICTS = {True: "better", False: "worse", None: ""}
COLUMNS = [
    "task",
    "metric",
    "unit",
    "higher_is_better",
    "evaluation",
    "reference",
    "value",
    "low",
    "high",
    "count",
    "skipped",
]
COLUMNS += ["difference", "difference_low", "difference_high", "p", "compared_items", "left_out"]


def render(comparison: EvaluationComparison) -> Group:
    """Tables for the terminal: a row a metric; under each value the difference to the first evaluation, green where it is better."""
    tables: list[Table | Text] = [
        Text(f"not made alike: {difference}", style="yellow") for difference in comparison.different
    ]
    tables.append(Text("Values [95 % interval] n items; below them differences to A on the same items [95 % interval]"))
    for task in comparison.tasks:
        columns = [
            Column(Text(f"{letter}\n{reference}"), overflow="fold")
            for letter, reference in zip(comparison.letters, comparison.references, strict=True)
        ]
        rows = [
            [Text(_name(metric)), *map(_terminal_cell, _texts(metric), metric.contrasts)] for metric in task.metrics
        ]
        title = Text(f"{task.name}: {about(task)}")
        tables.append(text_table(title, [Column("metric", overflow="fold"), *columns], rows))
    return Group(*tables)


def as_csv(comparison: EvaluationComparison) -> str:
    """A line a task, metric and evaluation; numbers whole, empty where there is none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for task in comparison.tasks:
        for metric in task.metrics:
            for place, letter in enumerate(comparison.letters):
                known: dict[str, Any] = {
                    "task": task.name,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                }
                known |= {
                    "evaluation": letter,
                    "reference": comparison.references[place],
                    "left_out": task.left_out[place],
                }
                if measure := metric.measures[place]:
                    known |= {name: getattr(measure, name) for name in ("value", "low", "high", "count", "skipped")}
                if contrast := metric.contrasts[place]:
                    found = contrast.difference
                    known |= {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
                    known |= {"p": found.p, "compared_items": found.count}
                writer.writerow(known)
    return file.getvalue()


def as_markdown(comparison: EvaluationComparison) -> str:
    """A table a task, ready to be pasted into a page or an issue."""
    lines = ["# Comparison of evaluations", ""]
    lines += [
        f"- {letter}: {_cell(name)}" for letter, name in zip(comparison.letters, comparison.references, strict=True)
    ]
    lines += [f"- not made alike: {_cell(str(difference))}" for difference in comparison.different]
    for task in comparison.tasks:
        lines += [
            "",
            f"## {_cell(task.name)}",
            "",
            f"Values [95 % interval], and differences to A on the same items ({about(task)}).",
            "",
        ]
        lines += [
            "| metric | " + " | ".join(comparison.letters) + " |",
            "|---" + "|---:" * len(comparison.letters) + "|",
        ]
        for metric in task.metrics:
            cells = ["<br>".join(part for part in texts if part) for texts in _texts(metric)]
            lines.append("| " + " | ".join(map(_cell, [_name(metric), *cells])) + " |")
    return "\n".join(lines) + "\n"


def as_measure_table(comparison: EvaluationComparison, task: ComparedTask) -> MeasureTable:
    """The table of a page: as in a report, with the differences in the cells."""
    columns = [{m.name: m.measures[place] for m in task.metrics} for place in range(len(comparison.letters))]
    headings = [Heading(letter, name) for letter, name in zip(comparison.letters, comparison.references, strict=True)]
    table = measure_table(
        headings, [{name: measure for name, measure in column.items() if measure} for column in columns]
    )
    for row, metric in zip(table.rows, task.metrics, strict=True):
        places = _places(metric)
        for place, contrast in enumerate(metric.contrasts):
            if contrast:
                row.cells[place] = replace(
                    row.cells[place], difference=_difference(contrast, places), verdict=VERDICTS[contrast.better]
                )
    return table


def about(task: ComparedTask) -> str:
    """How many items were compared, and how many were not."""
    left_out = f"; left out: {', '.join(f'{count} of {letter}' for letter, count in zip(LETTERS, task.left_out, strict=False) if count)}"
    return f"{task.items} items" + (left_out if any(task.left_out) else "")


def _name(metric: ComparedMetric) -> str:
    """Name, direction and unit in a line."""
    return f"{metric.name} {ARROWS[metric.higher_is_better]}".rstrip() + (f", {metric.unit}" if metric.unit else "")


def _texts(metric: ComparedMetric) -> list[tuple[str, str]]:
    """Of each evaluation the value, and the difference to the first."""
    places, texts = _places(metric), []
    for measure, contrast in zip(metric.measures, metric.contrasts, strict=True):
        value = ""
        if measure is not None:
            ends = interval(measure.low, measure.high, places)
            value = shown_value(measure, places) + (f" [{ends}]" if ends else "") + f" n={measure.count}"
            value += f", {measure.skipped} skipped" if measure.skipped else ""
        texts.append((value or "-", _difference(contrast, places) if contrast else ""))
    return texts


def _places(metric: ComparedMetric) -> int:
    return decimals(
        value for measure in metric.measures if measure for value in (measure.value, measure.low, measure.high)
    )


def _difference(contrast: Contrast, places: int) -> str:
    found = contrast.difference
    ends = interval(found.low, found.high, places, sign=True)
    return f"{figure(found.value, places, sign=True)} [{ends}] on {found.count}, p {found.p:.2g}"


def _terminal_cell(texts: tuple[str, str], contrast: Contrast | None) -> Text:
    value, difference = texts
    verdict = contrast and VERDICTS[contrast.better]
    shown = difference and f"\n{difference}" + (f" {verdict}" if verdict else "")
    return Text.assemble(value, (shown, STYLES[contrast.better] if contrast else ""))


def _cell(text: str) -> str:
    """A text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")
