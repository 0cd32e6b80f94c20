"""The measures of a task, a row a metric and a column a system, as text that is ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from spectron.evaluation.report.figures import DIRECTIONS, NO_VALUE, decimals, figure
from spectron.evaluation.report.stored import StoredEvaluation, StoredMeasure
from spectron.tracking.measure import ARROWS

NOT_MEASURED = "n/a"  # a dash before a footnote's number would read as a minus
ABOUT = {
    "model": "the system under test",
    "recording": "the true recording itself",
    "vocoded": "the recording's own spectrogram through the vocoder",
    "silence": "silence as long as the recording",
    "shuffled": "a recording of another speaker and another item",
    "written_question": "the system's language model given the true question in writing, which speaks nothing",
    "cascade": "the same given what the transcriber hears of the question",
}


@dataclass(frozen=True)
class Cell:
    """A figure: value, interval, what it rests on, numbers of its footnotes, and the value as it is stored.

    A comparison adds the difference to its first column, and a word on it, ``better`` or ``worse``, where it is clear.
    """

    value: str
    interval: str = ""
    items: str = ""
    notes: tuple[int, ...] = ()
    exact: float | None = None
    difference: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Heading:
    """A column: its title, and what stands in it."""

    title: str
    about: str = ""


@dataclass(frozen=True)
class Row:
    """A metric: name, unit, arrow of its direction and the same in words, whether it is one split of the metric above, and cells."""

    name: str
    unit: str
    arrow: str
    direction: str
    is_split: bool
    cells: list[Cell]

    @property
    def title(self) -> str:
        """The name, or the split's alone under its metric."""
        return self.name.partition("/")[2] or self.name


@dataclass
class MeasureTable:
    """Columns, rows, and the footnotes that the cells refer to, counted from 1."""

    headings: list[Heading]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> int:
        """Number of a footnote; equal texts share one."""
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1


def task_table(evaluation: StoredEvaluation, task: str) -> MeasureTable:
    """All measures of all systems of a task."""
    systems = evaluation.systems(task)
    return measure_table(
        [Heading(name, ABOUT.get(name, "")) for name in systems], [evaluation.measures(task, name) for name in systems]
    )


def measure_table(headings: list[Heading], columns: list[dict[str, StoredMeasure]]) -> MeasureTable:
    """Columns of measures side by side."""
    table = MeasureTable(headings)
    for name in ordered_names(columns):
        row = [column.get(name) for column in columns]
        first = next(measure for measure in row if measure is not None)
        places = decimals(value for measure in row if measure for value in (measure.value, measure.low, measure.high))
        cells = [_cell(table, measure, places) for measure in row]
        direction = DIRECTIONS[first.higher_is_better]
        table.rows.append(Row(name, first.unit, ARROWS[first.higher_is_better], direction, "/" in name, cells))
    return table


def ordered_names(columns: list[dict[str, StoredMeasure]]) -> list[str]:
    """Metrics in the order of their columns, each followed by its splits."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    places = {name: place for place, name in enumerate(names)}
    return sorted(names, key=lambda name: (places.get(name.partition("/")[0], places[name]), places[name]))


def _cell(table: MeasureTable, measure: StoredMeasure | None, places: int) -> Cell:
    if measure is None:
        return Cell("")
    notes: tuple[int, ...] = ()
    if measure.skipped:
        why = measure.skipped_because or "no reason was stored"
        notes = (table.note(f"{measure.skipped} of {measure.count + measure.skipped} skipped: {why}"),)
    elif measure.value is None:
        notes = (table.note(f"not measured: {measure.skipped_because or 'no reason was stored'}"),)
    weight = "".join(f" · {amount:,.0f} {thing}" for thing, amount in measure.weight.items())
    items = f"n {measure.count:,}{weight}"
    return Cell(shown_value(measure, places), interval(measure.low, measure.high, places), items, notes, measure.value)


def shown_value(measure: StoredMeasure, places: int) -> str:
    """A value with so many decimals, or that there is none."""
    return NOT_MEASURED if measure.value is None else figure(measure.value, places)


def interval(low: float | None, high: float | None, places: int, sign: bool = False) -> str:
    """Both ends of an interval; nothing where there is none."""
    shown = [figure(end, places, sign) for end in (low, high)]
    return "" if NO_VALUE in shown else f"{shown[0]} to {shown[1]}"
