"""Geometry of the small plots of a page; the templates draw it as SVG, in the colours of the page."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spectron.evaluation.report.figures import figure

COLOURS = 6  # classes of the style sheet, from c0
ROW_HEIGHT, AXIS_HEIGHT = 20, 22
PLOT_WIDTH, LABEL_WIDTH = 340, 96
BARS, BAR_HEIGHT = 20, 64
CURVE_WIDTH, CURVE_HEIGHT, CURVE_LEFT = 420, 200, 48
MARGIN = 8  # room for half a mark, or half a number, at the ends of an axis


@dataclass(frozen=True)
class Point:
    """A value with its interval and whose it is; ``colour`` counts the style sheet's colours."""

    label: str
    colour: int
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def values(self) -> list[float]:
        """All numbers of it."""
        return [value for value in (self.value, self.low, self.high) if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Axis:
    """A linear scale from data to pixels, with round numbers along it."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]]

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def axis(values: Iterable[float], start: float, end: float, most_ticks: int = 4) -> Axis:
    """A scale between round numbers that holds all values."""
    from matplotlib.ticker import MaxNLocator

    values = list(values)
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    marks = [float(mark) for mark in MaxNLocator(most_ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    scale = Axis(marks[0], marks[-1], start, end, [])
    return Axis(marks[0], marks[-1], start, end, [(scale(mark), figure(mark)) for mark in marks])


@dataclass(frozen=True)
class IntervalRow:
    """A system in an interval plot: pixels of its value and of the ends of its interval."""

    label: str
    colour: int
    shown: str
    y: float
    x: float | None
    low: float | None
    high: float | None


@dataclass
class IntervalPlot:
    """Values with their intervals, one under another on one scale."""

    title: str
    height: float
    scale: Axis
    rows: list[IntervalRow]
    width: float = PLOT_WIDTH
    label_width: float = LABEL_WIDTH


def interval_plot(title: str, points: Sequence[Point]) -> IntervalPlot | None:
    """A plot of some systems' values; None where there are fewer than two to look at."""
    if sum(point.value is not None for point in points) < 2:
        return None
    scale = axis((value for point in points for value in point.values), LABEL_WIDTH + MARGIN, PLOT_WIDTH - 2 * MARGIN)
    rows = []
    for place, point in enumerate(points):
        x, low, high = (None if value is None else scale(value) for value in (point.value, point.low, point.high))
        ends = "" if low is None or high is None else f" ({figure(point.low)} to {figure(point.high)})"
        shown = f"{point.label}: {figure(point.value)}{ends}"
        rows.append(IntervalRow(point.label, point.colour % COLOURS, shown, ROW_HEIGHT * (place + 0.5), x, low, high))
    return IntervalPlot(title, ROW_HEIGHT * len(points) + AXIS_HEIGHT, scale, rows)


@dataclass
class Histogram:
    """Bars (x, y, width, height, text) of how often scores are how large, on a scale; the median's pixel."""

    title: str
    scale: Axis
    bars: list[tuple[float, float, float, float, str]]
    median: float
    shown_median: str
    count: int
    most: int
    width: float = PLOT_WIDTH
    height: float = BAR_HEIGHT + AXIS_HEIGHT
    base: float = BAR_HEIGHT


def histogram(title: str, scores: Sequence[float]) -> Histogram | None:
    """How single items score; None where all score alike, or there are too few to draw."""
    finite = [score for score in scores if math.isfinite(score)]
    if len(set(finite)) < 2:
        return None
    scale = axis(finite, LABEL_WIDTH + MARGIN, PLOT_WIDTH - 2 * MARGIN)
    step = (scale.high - scale.low) / BARS
    counts = [0] * BARS
    for score in finite:
        counts[min(int((score - scale.low) / step), BARS - 1)] += 1
    most, bars = max(counts), []
    for place, count in enumerate(counts):
        left, right = scale.low + place * step, scale.low + (place + 1) * step
        height = round(count / most * (BAR_HEIGHT - 4), 1)
        text = f"{figure(left)} to {figure(right)}: {count} item{'s' if count != 1 else ''}"
        if count:
            bars.append((scale(left), BAR_HEIGHT - height, round(scale(right) - scale(left) - 1, 1), height, text))
    median = statistics.median(finite)
    return Histogram(title, scale, bars, scale(median), figure(median), len(finite), most)


@dataclass
class CurveLine:
    """One system along a curve: its points (x, y, low, high, text), joined in order."""

    label: str
    colour: int
    points: list[tuple[float, float, float | None, float | None, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Corners of the line."""
        return " ".join(f"{x},{y}" for x, y, *_ in self.points)


@dataclass
class Curve:
    """A metric over what the tasks of a curve vary, a line a system."""

    title: str
    across: str
    horizontal: Axis
    vertical: Axis
    lines: list[CurveLine]
    width: float = CURVE_WIDTH
    height: float = CURVE_HEIGHT
    left: float = CURVE_LEFT


def curve(title: str, across: str, places: Sequence[float], points: Sequence[Sequence[Point]]) -> Curve | None:
    """A metric at several places; None where no system was measured at two.

    Args:
        title: The metric.
        across: What varies, with its unit.
        places: Where the points stand, ascending.
        points: The systems' values at each of the places.
    """
    measured = Counter(point.label for here in points for point in here if point.value is not None)
    if max(measured.values(), default=0) < 2:
        return None
    horizontal = axis(places, CURVE_LEFT + MARGIN, CURVE_WIDTH - 2 * MARGIN, most_ticks=6)
    values = (value for here in points for point in here for value in point.values)
    vertical = axis(values, CURVE_HEIGHT - AXIS_HEIGHT - MARGIN, MARGIN)
    lines: dict[str, CurveLine] = {}
    for place, here in zip(places, points, strict=True):
        for point in (point for point in here if point.value is not None):
            line = lines.setdefault(point.label, CurveLine(point.label, point.colour % COLOURS))
            ends = [None if end is None else vertical(end) for end in (point.low, point.high)]
            text = f"{point.label} at {figure(place)}: {figure(point.value)}"
            line.points.append((horizontal(place), vertical(point.value or 0.0), ends[0], ends[1], text))
    return Curve(title, across, horizontal, vertical, list(lines.values()))
