"""Tables that the command prints: metrics, parts and shapes."""

from __future__ import annotations

from typing import Any

from rich.table import Column, Table
from rich.text import Text

from spectron.config.recipes import Recipe
from spectron.conformance import CheckResult
from spectron.terminal import visible
from spectron.tracking.measure import (
    ARROWS,
    COUNTED,
    SKIPPED,
    VALIDATION,
    MetricValue,
    flatten,
    interval,
    number,
    text_table,
)
from spectron.tracking.provenance import trainable_line


def measures_table(measures: list[MetricValue]) -> Table:
    """Show every metric in a row: value, 95 % interval, unit, direction, counts, and values of other prefixes."""
    named = {measure.name: measure for measure in measures}
    prefixes = dict.fromkeys(name.partition("/")[0] for name in named)
    compared = [prefix for prefix in prefixes if prefix + "/" != VALIDATION]
    columns: list[str | Column] = [
        Column("metric", overflow="fold"),
        Column("value", justify="right", no_wrap=True),
        Column("95 % interval", justify="right", no_wrap=True),
        "unit",
        Column("better", justify="center"),
        Column("n", justify="right"),
        Column("skipped", justify="right"),
        *(Column(prefix.replace("_", " "), justify="right") for prefix in compared),
    ]
    rows = []
    for name, measure in named.items():
        owner, _, aspect = name.rpartition(".")
        prefix, _, rest = name.partition("/")
        if (prefix in compared and VALIDATION + rest in named) or (owner in named and aspect in (*COUNTED, SKIPPED)):
            continue
        others = [named.get(f"{other}/{rest}") for other in compared]
        rows.append([*_cells(named, measure), *(_with_interval(other) if other else "" for other in others)])
    return text_table("Validation", columns, rows)


def _cells(named: dict[str, MetricValue], measure: MetricValue) -> list[str]:
    """Return the cells of a metric itself."""
    name = measure.name
    items = [str(measure.count)] if measure.count else []
    items += [f"{named[f'{name}.{thing}'].value:.0f} {thing}" for thing in COUNTED if f"{name}.{thing}" in named]
    skipped = named.get(f"{name}.{SKIPPED}")
    return [
        name,
        number(measure.value),
        interval(measure.low, measure.high),
        measure.unit,
        ARROWS[measure.higher_is_better],
        ", ".join(items),
        number(skipped.value) if skipped else "",
    ]


def _with_interval(measure: MetricValue) -> str:
    """Write value and interval in one cell."""
    ends = interval(measure.low, measure.high)
    return number(measure.value) + (f" ({ends})" if ends else "")


def parts_table(counts: dict[str, tuple[int, int]]) -> Table:
    """Show trainable and frozen parameters of each part, and their sums."""
    columns: list[str | Column] = ["part", Column("trainable", justify="right"), Column("frozen", justify="right")]
    rows = [[name, f"{trainable:,}", f"{frozen:,}"] for name, (trainable, frozen) in counts.items()]
    table = text_table("Parameters", columns, rows)
    table.add_section()
    table.add_row("all", f"{sum(t for t, _ in counts.values()):,}", f"{sum(f for _, f in counts.values()):,}")
    table.caption, table.caption_justify = trainable_line(counts), "left"
    return table


def resolved_table(resolved: dict[str, Any]) -> Table:
    """Show the values that the platform derived for each part."""
    rows = [
        [name, ", ".join(f"{key} {value}" for key, value in flatten(values).items())]
        for name, values in resolved.items()
    ]
    return text_table("Found by the platform", ["part", Column("what", overflow="fold")], rows)


def verdict_line(verdict: CheckResult) -> Text:
    """Write one check of a part: whether it passed, its name, and its details."""
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "dim")}[verdict.passed]
    return Text.assemble((mark, colour), f" {visible(verdict.name):<22} ", visible(verdict.detail))


def recipes_table(recipes: list[Recipe]) -> Table:
    """Return the recipes of the package: name, kind and question."""
    columns: list[str | Column] = [Column(heading, overflow="fold") for heading in ("recipe", "kind", "question")]
    return text_table("", columns, [[recipe.name, recipe.kind, recipe.question] for recipe in recipes])


def shapes_table(shapes: dict[str, tuple[int, ...]]) -> Table:
    """Show tensor shapes through a model, in order."""
    rows = [[name, " x ".join(map(str, shape))] for name, shape in shapes.items()]
    return text_table("Shapes of one training batch", ["tensor", "shape"], rows)
