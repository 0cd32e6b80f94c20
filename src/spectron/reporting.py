"""What the command prints: tables of measures, parts and shapes."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spectron.tracking import Measure

ARROWS = {True: "↑", False: "↓", None: ""}


def measures_table(measures: list[Measure]) -> Table:
    """Name, value with its 95 % interval, unit, direction and number of items of every measure."""
    table = Table(title="Validation", title_justify="left", min_width=36)
    table.add_column("metric", overflow="fold")
    for heading in ("value", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("better", justify="center")
    table.add_column("n", justify="right")
    for measure in measures:
        interval = f"{number(measure.low)} - {number(measure.high)}" if measure.low is not None and measure.high is not None else ""
        count = str(measure.count) if measure.count else ""
        table.add_row(Text(measure.name), number(measure.value), interval, Text(measure.unit), ARROWS[measure.higher_is_better], count)
    return table


def parts_table(counts: dict[str, tuple[int, int]]) -> Table:
    """Trainable and frozen parameters of each part, and their sums."""
    table = Table(title="Parameters", title_justify="left", min_width=36)
    table.add_column("part")
    table.add_column("trainable", justify="right")
    table.add_column("frozen", justify="right")
    for name, (trainable, frozen) in counts.items():
        table.add_row(name, f"{trainable:,}", f"{frozen:,}")
    table.add_section()
    table.add_row("all", f"{sum(t for t, _ in counts.values()):,}", f"{sum(f for _, f in counts.values()):,}")
    return table


def shapes_table(shapes: dict[str, tuple[int, ...]]) -> Table:
    """Tensor shapes through a model, in order."""
    table = Table(title="Shapes of one training batch", title_justify="left", min_width=36)
    table.add_column("tensor")
    table.add_column("shape")
    for name, shape in shapes.items():
        table.add_row(Text(name), " x ".join(map(str, shape)))
    return table


def number(value: float | None) -> str:
    """A value as people read it, with four digits that count."""
    if value is None or math.isnan(value):
        return "none"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"


def console() -> Console:
    """Where tables go; in a file, where a terminal has no width, long paths must not be folded."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=160)
