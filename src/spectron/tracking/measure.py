"""Metric values with counts and intervals, and the numbers and tables that show them on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from spectron.config.nested import leaves
from spectron.terminal import visible, visible_lines

# Prefix of validation metrics; the same metric under another prefix, such as `ceiling/`, is a value to compare with.
VALIDATION = "val/"
# What a metric rests on, logged as `<metric>.<one of these>`.
COUNTED = ("words", "characters", "tokens", "frames", "seconds")
SKIPPED = "skipped"  # items left out of a metric, logged as `<metric>.skipped`
FILE_COLUMNS = 160  # width of tables in a file, which has no width
ARROWS = {True: "↑", False: "↓", None: ""}  # by `higher_is_better`


@dataclass
class MetricValue:
    """A measured quantity with what is needed to judge it.

    Args:
        name: Name in MLflow, such as ``val/wer``.
        value: Value; NaN if nothing could be measured.
        count: Number of items measured.
        unit: Unit, empty for a plain ratio.
        higher_is_better: Direction; None if neither direction is better.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
    """

    name: str
    value: float
    count: int
    unit: str = ""
    higher_is_better: bool | None = None
    low: float | None = None
    high: float | None = None

    def values(self) -> dict[str, float]:
        """Return what MLflow stores: value, interval and count by name, without the values that are not finite."""
        named = {"": self.value, ".low": self.low, ".high": self.high}
        finite = {
            self.name + end: float(value) for end, value in named.items() if value is not None and math.isfinite(value)
        }
        return finite | {f"{self.name}.count": float(self.count)}


def flatten(tree: Any) -> dict[str, str]:
    """Turn a nested mapping into texts under dotted names; a list of plain values stays one text."""
    return {".".join(path): str(value) for path, value in leaves(tree, _is_nested)}


def _is_nested(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(item, Mapping | list | tuple) for item in value)
    return isinstance(value, Mapping) and len(value) > 0


def short(count: int) -> str:
    """Write a count with two or three significant digits: 812, 1.2 k, 90 M, 1.1 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return str(count)


def number(value: float | None, decimals: int | None = None, sign: bool = False, missing: str = "-") -> str:
    """Write a value for people.

    Args:
        value: The value.
        decimals: Digits after the point; by default the value gets four significant digits.
        sign: Whether a positive value gets a plus sign.
        missing: Text for None and NaN.
    """
    if value is None or math.isnan(value):
        return missing
    plus = "+" if sign else ""
    if decimals is None and abs(value) < 10000:
        return f"{value:{plus}.4g}"
    return f"{value:{plus},.{decimals or 0}f}"


def interval(low: float | None, high: float | None) -> str:
    """Write both ends of an interval, or nothing if there is none."""
    if low is None or high is None or math.isnan(low):
        return ""
    return f"{number(low)} - {number(high)}"


class TextConsole(Console):
    """Console that shows all strings as they are: they are no markup, and their control characters are visible."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a string as text, with its width known before a table is laid out."""
        return super().render_str(visible_lines(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything: styled texts, too, have visible control characters."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else visible_lines(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)


def console() -> Console:
    """Return the console for tables; a file has no width, and long paths must not be folded there."""
    plain = TextConsole()
    return plain if plain.is_terminal else TextConsole(width=FILE_COLUMNS)


def text_table(
    title: str, columns: Sequence[str | Column], rows: Iterable[Sequence[str | Text]], min_width: int | None = 36
) -> Table:
    """Build a table for the terminal. Its strings are never markup, whatever console prints it.

    Args:
        title: Line above the table.
        columns: Heading of each column, as a ``Column`` if it is aligned or folded.
        rows: Cells of each row; a string is one line.
        min_width: Smallest width in characters, so that the title of a narrow table is not folded.
    """
    headings = [column if isinstance(column, Column) else Column(column) for column in columns]
    for column in headings:
        if isinstance(column.header, str):
            column.header = Text(visible_lines(column.header))
    above = Text(visible(title), style="table.title") if title else None
    table = Table(*headings, title=above, title_justify="left", min_width=min_width)
    for row in rows:
        table.add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell for cell in row))
    return table
