"""Measured quantities: values, counts and intervals, as numbers and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from spectron.config.nested import leaves


@dataclass
class MetricValue:
    """A measured quantity with what is needed to judge it.

    Args:
        name: Its name in MLflow, such as ``val/wer``.
        value: Its value; NaN where nothing could be measured.
        count: Items measured.
        unit: Unit, empty for a plain ratio.
        higher_is_better: Direction, or None where neither is better.
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
        """What goes to MLflow: value, count and interval, those left out that are not numbers."""
        named = {"": self.value, ".low": self.low, ".high": self.high}
        finite = {
            self.name + end: float(value) for end, value in named.items() if value is not None and math.isfinite(value)
        }
        return finite | {f"{self.name}.count": float(self.count)}


def flatten(tree: Any) -> dict[str, str]:
    """Return a nested mapping as dotted names and texts; lists of plain values stay one text."""
    return {".".join(path): str(value) for path, value in leaves(tree, _is_nested)}


def _is_nested(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(item, Mapping | list | tuple) for item in value)
    return isinstance(value, Mapping) and len(value) > 0


VALIDATION = (
    "val/"  # what was trained; the same measure under another prefix, such as `ceiling/`, is what it is compared with
)


COUNTED, SKIPPED = (
    ("words", "characters", "tokens", "frames", "seconds"),
    "skipped",
)  # what stands behind a measure, as `<measure>.<this>`


ARROWS = {True: "↑", False: "↓", None: ""}


def short(count: int) -> str:
    """A count with the digits that matter: 812, 1.2 k, 90 M, 1.1 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return str(count)


def number(value: float | None) -> str:
    """A value as people read it, with four digits that count."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"


def console() -> Console:
    """Where tables go; in a file, where a terminal has no width, long paths must not be folded."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=160)
