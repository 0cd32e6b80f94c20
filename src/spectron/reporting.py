"""What the command prints: tables of measures, parts and shapes."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spectron.tracking import Measure

CEILING = "ceiling/"  # what the vocoder alone makes of true spectrograms: no model can be expected to do better
COUNTED, SKIPPED = ("words", "tokens", "frames"), "skipped"  # what stands behind a measure, as `<measure>.<this>`
ARROWS = {True: "↑", False: "↓", None: ""}


def measures_table(measures: list[Measure]) -> Table:
    """Every measure with its 95 % interval, unit, direction and counts; what counts or bounds another measure stands in its row."""
    named = {measure.name: measure for measure in measures}
    ceilings = {name.removeprefix(CEILING): measure for name, measure in named.items() if name.startswith(CEILING)}
    table = Table(title="Validation", title_justify="left", min_width=36)
    table.add_column("metric", overflow="fold")
    for heading in ("value", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("better", justify="center")
    table.add_column("n", justify="right")
    table.add_column("skipped", justify="right")
    if ceilings:
        table.add_column("ceiling", justify="right")
    for name, measure in named.items():
        owner, _, aspect = name.rpartition(".")
        if name.startswith(CEILING) or (owner in named and aspect in (*COUNTED, SKIPPED)):
            continue
        items = [str(measure.count)] if measure.count else []
        items += [f"{named[f'{name}.{thing}'].value:.0f} {thing}" for thing in COUNTED if f"{name}.{thing}" in named]
        skipped = named.get(f"{name}.{SKIPPED}")
        row: list[Text | str] = [
            Text(name),
            number(measure.value),
            _interval(measure),
            Text(measure.unit),
            ARROWS[measure.higher_is_better],
        ]
        row += [", ".join(items), number(skipped.value) if skipped else ""]
        ceiling = ceilings.get(name.partition("/")[2])
        table.add_row(*row, *([number(ceiling.value) if ceiling else ""] if ceilings else []))
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


def _interval(measure: Measure) -> str:
    """The 95 % interval, where there is one."""
    if measure.low is None or measure.high is None or math.isnan(measure.low):
        return ""
    return f"{number(measure.low)} - {number(measure.high)}"


def number(value: float | None) -> str:
    """A value as people read it, with four digits that count."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"


def console() -> Console:
    """Where tables go; in a file, where a terminal has no width, long paths must not be folded."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=160)
