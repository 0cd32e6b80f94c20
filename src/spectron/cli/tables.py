"""What the command prints: tables of measures, parts and shapes."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table
from rich.text import Text

from spectron.config.recipes import Recipe
from spectron.conformance import CheckResult
from spectron.tracking.measure import ARROWS, COUNTED, SKIPPED, VALIDATION, MetricValue, flatten, number
from spectron.tracking.provenance import trainable_line


def measures_table(measures: list[MetricValue]) -> Table:
    """Every measure with its 95 % interval, unit, direction and counts; what counts, or is compared with, another one
    stands in its row.
    """
    named = {measure.name: measure for measure in measures}
    compared = [
        prefix for prefix in dict.fromkeys(name.partition("/")[0] for name in named) if prefix + "/" != VALIDATION
    ]
    table = Table(title="Validation", title_justify="left", min_width=36)
    table.add_column("metric", overflow="fold")
    for heading in ("value", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("better", justify="center")
    table.add_column("n", justify="right")
    table.add_column("skipped", justify="right")
    for prefix in compared:
        table.add_column(prefix.replace("_", " "), justify="right")
    for name, measure in named.items():
        owner, _, aspect = name.rpartition(".")
        prefix, _, rest = name.partition("/")
        if (prefix in compared and VALIDATION + rest in named) or (owner in named and aspect in (*COUNTED, SKIPPED)):
            continue
        others = [named.get(f"{other}/{rest}") for other in compared]
        table.add_row(*_row(named, measure), *(_with_interval(other) if other else "" for other in others))
    return table


def _row(named: dict[str, MetricValue], measure: MetricValue) -> list[Text | str]:
    """The cells of a measure itself."""
    name = measure.name
    items = [str(measure.count)] if measure.count else []
    items += [f"{named[f'{name}.{thing}'].value:.0f} {thing}" for thing in COUNTED if f"{name}.{thing}" in named]
    skipped = named.get(f"{name}.{SKIPPED}")
    unit, arrow = Text(measure.unit), ARROWS[measure.higher_is_better]
    return [
        Text(name),
        number(measure.value),
        _interval(measure),
        unit,
        arrow,
        ", ".join(items),
        number(skipped.value) if skipped else "",
    ]


def _with_interval(measure: MetricValue) -> str:
    """Value and interval in one cell."""
    interval = _interval(measure)
    return number(measure.value) + (f" ({interval})" if interval else "")


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
    table.caption, table.caption_justify = trainable_line(counts), "left"
    return table


def resolved_table(resolved: dict[str, Any]) -> Table:
    """What the platform found out about each part."""
    table = Table(title="Found by the platform", title_justify="left", min_width=36)
    table.add_column("part")
    table.add_column("what", overflow="fold")
    for name, values in resolved.items():
        table.add_row(name, Text(", ".join(f"{key} {value}" for key, value in flatten(values).items())))
    return table


def verdict_line(verdict: CheckResult) -> Text:
    """One check of a part: whether it passed, its name, what was measured or seen."""
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "dim")}[verdict.passed]
    return Text.assemble((mark, colour), f" {verdict.name:<22} ", verdict.detail)


def recipes_table(recipes: list[Recipe]) -> Table:
    """Return the recipes of the package: name, kind and question."""
    table = Table(min_width=36)
    for heading in ("recipe", "kind", "question"):
        table.add_column(heading, overflow="fold")
    for recipe in recipes:
        table.add_row(recipe.name, recipe.kind, Text(recipe.question))
    return table


def shapes_table(shapes: dict[str, tuple[int, ...]]) -> Table:
    """Tensor shapes through a model, in order."""
    table = Table(title="Shapes of one training batch", title_justify="left", min_width=36)
    table.add_column("tensor")
    table.add_column("shape")
    for name, shape in shapes.items():
        table.add_row(Text(name), " x ".join(map(str, shape)))
    return table


def _interval(measure: MetricValue) -> str:
    """The 95 % interval, where there is one."""
    if measure.low is None or measure.high is None or math.isnan(measure.low):
        return ""
    return f"{number(measure.low)} - {number(measure.high)}"
