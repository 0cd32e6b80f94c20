"""Tables of a comparison: for the terminal, as CSV, as Markdown, and for a page."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from spectron.evaluation.comparison.comparing import LETTERS, ComparedTask, EvaluationComparison
from spectron.evaluation.report.figures import decimals, figure
from spectron.evaluation.report.metric_tables import (
    VERDICTS,
    Heading,
    MeasureTable,
    interval,
    markdown_table,
    markdown_text,
    measure_table,
)
from spectron.terminal import visible
from spectron.tracking.measure import text_table

MEASURED = ("value", "low", "high", "count", "skipped")
COLUMNS = ["task", "metric", "unit", "higher_is_better", "evaluation", "reference", *MEASURED]
COLUMNS += ["difference", "difference_low", "difference_high", "p", "compared_items", "left_out"]


def render(comparison: EvaluationComparison) -> Group:
    """Return tables for the terminal: a row per metric, and below each value the difference to the first evaluation.

    Clear differences are green if they are better and red if they are worse.
    """
    tables: list[Table | Text] = [
        Text(visible(f"different conditions: {difference}"), style="yellow") for difference in comparison.different
    ]
    tables.append(Text("Values [95 % interval] n items; below them differences to A on the same items [95 % interval]"))
    for task in comparison.tasks:
        columns = [Column("metric", overflow="fold")]
        for letter, reference in zip(comparison.letters, comparison.references, strict=True):
            columns.append(Column(f"{letter}\n{visible(reference)}", overflow="fold"))
        measured = as_measure_table(comparison, task).rows
        rows: list[list[str | Text]] = [[row.label, *(cell.terminal() for cell in row.cells)] for row in measured]
        tables.append(text_table(f"{task.name}: {about(task)}", columns, rows))
    return Group(*tables)


def as_csv(comparison: EvaluationComparison) -> str:
    """Return a CSV with a line per task, metric and evaluation; numbers are not rounded, and missing ones are empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for task in comparison.tasks:
        for metric in task.metrics:
            for place, letter in enumerate(comparison.letters):
                line: dict[str, Any] = {
                    "task": task.name,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "evaluation": letter,
                    "reference": comparison.references[place],
                    "left_out": task.left_out[place],
                }
                if measure := metric.measures[place]:
                    line |= {name: getattr(measure, name) for name in MEASURED}
                if contrast := metric.contrasts[place]:
                    found = contrast.difference
                    line |= {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
                    line |= {"p": found.p, "compared_items": found.count}
                writer.writerow(line)
    return file.getvalue()


def as_markdown(comparison: EvaluationComparison) -> str:
    """Return Markdown with a table per task."""
    lines = ["# Comparison of evaluations", ""]
    for letter, name in zip(comparison.letters, comparison.references, strict=True):
        lines.append(f"- {letter}: {markdown_text(name)}")
    lines += [f"- different conditions: {markdown_text(str(difference))}" for difference in comparison.different]
    for task in comparison.tasks:
        explanation = f"Values [95 % interval], and differences to A on the same items ({about(task)})."
        lines += ["", f"## {markdown_text(task.name)}", "", explanation, ""]
        rows = as_measure_table(comparison, task).rows
        cells = ([row.label, *(cell.markdown() for cell in row.cells)] for row in rows)
        lines += markdown_table(["metric", *comparison.letters], cells)
    return "\n".join(lines) + "\n"


def as_measure_table(comparison: EvaluationComparison, task: ComparedTask) -> MeasureTable:
    """Return the table of a task, with a column per evaluation and the differences to the first one in the cells."""
    headings = [Heading(letter, name) for letter, name in zip(comparison.letters, comparison.references, strict=True)]
    columns = [
        {metric.name: measure for metric in task.metrics if (measure := metric.measures[place])}
        for place in range(len(headings))
    ]
    table = measure_table(headings, columns)
    for row, metric in zip(table.rows, task.metrics, strict=True):
        places = decimals(value for m in metric.measures if m for value in (m.value, m.low, m.high))
        for place, contrast in enumerate(metric.contrasts):
            if contrast:
                found = contrast.difference
                ends = interval(found.low, found.high, places, sign=True)
                shown = f"{figure(found.value, places, sign=True)} [{ends}] on {found.count}, p {found.p:.2g}"
                row.cells[place] = replace(row.cells[place], difference=shown, verdict=VERDICTS[contrast.better])
    return table


def about(task: ComparedTask) -> str:
    """Return the number of compared items, and of the items that were left out, in words."""
    if not any(task.left_out):
        return f"{task.items} items"
    counts = zip(LETTERS, task.left_out, strict=False)
    left_out = ", ".join(f"{count} of {letter}" for letter, count in counts if count)
    return f"{task.items} items; left out: {left_out}"
