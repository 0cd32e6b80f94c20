"""Tables of measured values as text, for pages, Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.text import Text

from spectron.evaluation.report.figures import DIRECTIONS, NO_VALUE, decimals, figure
from spectron.evaluation.report.stored import StoredEvaluation, StoredMeasure
from spectron.terminal import visible_lines
from spectron.tracking.measure import ARROWS

Verdict = Literal["better", "worse", ""]
VERDICTS: dict[bool | None, Verdict] = {True: "better", False: "worse", None: ""}
STYLES = {"better": "bold green", "worse": "bold red", "": ""}
EMPTY_CELL = "-"
NOT_MEASURED = "n/a"  # not a dash: before the number of a footnote, a dash would read as a minus
ABOUT = {
    "model": "the system under test",
    "recording": "the true recording",
    "vocoded": "the recording's own spectrogram through the vocoder",
    "silence": "silence as long as the recording",
    "shuffled": "the recording of another item, by another speaker if possible",
    "written_question": "the system's language model with the true question as text; it does not speak",
    "cascade": "the system's language model with the transcriber's transcript of the question; it does not speak",
}


@dataclass(frozen=True)
class Cell:
    """One value of a table as text.

    Args:
        value: The value; empty if the table has none here.
        interval: Both ends of its 95 % interval; empty if there is none.
        count: Number of items measured; None leaves the counts out.
        skipped: Number of items that could not be measured.
        weight: Sum of the denominators by unit, such as ``{"words": 450}``.
        notes: Numbers of its footnotes.
        exact: The stored value.
        difference: Difference to the first column or row, with its interval.
        verdict: Whether the difference is clearly better or worse; empty if it may be chance.
    """

    value: str
    interval: str = ""
    count: int | None = None
    skipped: int = 0
    weight: dict[str, float] = field(default_factory=dict)
    notes: tuple[int, ...] = ()
    exact: float | None = None
    difference: str = ""
    verdict: Verdict = ""

    @property
    def items(self) -> str:
        """Items and weight as a page shows them."""
        weight = "".join(f" · {amount:,.0f} {thing}" for thing, amount in self.weight.items())
        return "" if self.count is None else f"n {self.count:,}{weight}"

    @property
    def text(self) -> str:
        """Value, interval, items and skipped items in one line."""
        if not self.value:
            return EMPTY_CELL
        interval = f" [{self.interval}]" if self.interval else ""
        count = "" if self.count is None else f" n={self.count}"
        return self.value + interval + count + (f", {self.skipped} skipped" if self.skipped else "")

    def markdown(self) -> str:
        """Return the line and, below it, the difference."""
        return f"{self.text}\n{self.difference}" if self.difference else self.text

    def terminal(self, verdict: bool = True) -> Text:
        """Return the line and, below it, the difference, coloured if it is clear, with the verdict if wanted."""
        shown = f"\n{self.difference}" if self.difference else ""
        shown += f" {self.verdict}" if self.verdict and verdict else ""
        return Text.assemble(self.text, (shown, STYLES[self.verdict]))


@dataclass(frozen=True)
class Heading:
    """Heading of a column: its title, and a description that a page shows on hover."""

    title: str
    about: str = ""


@dataclass(frozen=True)
class Row:
    """Row of one metric: name, unit, arrow of its direction, direction in words, and cells.

    ``is_split`` marks the values of one split of the metric above.
    """

    name: str
    unit: str
    arrow: str
    direction: str
    is_split: bool
    cells: list[Cell]

    @property
    def title(self) -> str:
        """The metric's name, or the split's name alone."""
        return self.name.partition("/")[2] or self.name

    @property
    def label(self) -> str:
        """Name, direction and unit in one line."""
        return metric_label(self.name, self.unit, self.arrow)


@dataclass
class MeasureTable:
    """Table with a row per metric, and the footnotes of its cells, numbered from 1."""

    headings: list[Heading]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> int:
        """Return the number of a footnote; cells with equal texts share one."""
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1


def task_table(evaluation: StoredEvaluation, task: str) -> MeasureTable:
    """Return the table of a task, with a column per system."""
    systems = evaluation.systems(task)
    headings = [Heading(name, ABOUT.get(name, "")) for name in systems]
    return measure_table(headings, [evaluation.measures(task, name) for name in systems])


def measure_table(headings: list[Heading], columns: list[dict[str, StoredMeasure]]) -> MeasureTable:
    """Return the table of several columns of values by metric; all values of a row have the same number of decimals."""
    table = MeasureTable(headings)
    for name in ordered_names(columns):
        measures = [column.get(name) for column in columns]
        first = next(measure for measure in measures if measure is not None)
        places = decimals(value for m in measures if m for value in (m.value, m.low, m.high))
        cells = [Cell("") if measure is None else _cell(table, measure, places) for measure in measures]
        direction = DIRECTIONS[first.higher_is_better]
        table.rows.append(Row(name, first.unit, ARROWS[first.higher_is_better], direction, "/" in name, cells))
    return table


def _cell(table: MeasureTable, measure: StoredMeasure, places: int) -> Cell:
    """Return the cell of a value; skipped items and a missing value get a footnote."""
    why = measure.skipped_because or "no reason was stored"
    notes: tuple[int, ...] = ()
    if measure.skipped:
        notes = (table.note(f"{measure.skipped} of {measure.count + measure.skipped} skipped: {why}"),)
    elif measure.value is None:
        notes = (table.note(f"not measured: {why}"),)
    value = NOT_MEASURED if measure.value is None else figure(measure.value, places)
    ends = interval(measure.low, measure.high, places)
    return Cell(value, ends, measure.count, measure.skipped, measure.weight, notes, measure.value)


def ordered_names(columns: list[dict[str, StoredMeasure]]) -> list[str]:
    """Return all metrics in the order of the columns, each followed by its splits."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    places = {name: place for place, name in enumerate(names)}
    return sorted(names, key=lambda name: (places.get(name.partition("/")[0], places[name]), places[name]))


def interval(low: float | None, high: float | None, places: int, sign: bool = False, between: str = " to ") -> str:
    """Return both ends of an interval as text; empty if one is missing."""
    shown = [figure(end, places, sign) for end in (low, high)]
    return "" if NO_VALUE in shown else between.join(shown)


def metric_label(name: str, unit: str, arrow: str) -> str:
    """Return name, arrow and unit of a metric in one line."""
    return f"{name} {arrow}".rstrip() + (f", {unit}" if unit else "")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table: the first column is aligned left, the others right."""
    rule = "|---" + "|---:" * (len(headings) - 1) + "|"
    shown = ["| " + " | ".join(map(markdown_text, row)) + " |" for row in (headings, *rows)]
    return [shown[0], rule, *shown[1:]]


def markdown_text(text: str) -> str:
    """Return a text that cannot end its table cell or its line, and is no markup: no tag, link, code or emphasis."""
    shown = visible_lines(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "`", "*"):
        shown = shown.replace(mark, f"\\{mark}")
    return shown.replace("](", "]\\(").replace("\n", "<br>")
