"""Geometry of the plots of a page; the templates draw them as SVG in the page's colours."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from spectron.evaluation.report.figures import figure

COLOURS = 6  # classes c0 to c5 of the style sheet
ROW_HEIGHT, AXIS_HEIGHT = 20, 22
PLOT_WIDTH, LABEL_WIDTH = 340, 96
BARS, BAR_HEIGHT = 20, 64
CURVE_WIDTH, CURVE_HEIGHT, CURVE_LEFT = 420, 200, 48
MARGIN = 8  # space for half a mark or half a number at the ends of an axis


@dataclass(frozen=True)
class Point:
    """Value of one system with its interval; ``colour`` is the number of a style sheet class, modulo their count."""

    label: str
    colour: int
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def values(self) -> list[float]:
        """Return value, low and high as far as they are finite."""
        return [value for value in (self.value, self.low, self.high) if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Axis:
    """Linear scale from data to pixels, with ticks (pixel, label) at round numbers."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]]

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def axis(values: Iterable[float], start: float, end: float, most_ticks: int = 4) -> Axis:
    """Return a scale that contains all values and ends at round numbers."""
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
    """System in an interval plot: pixels of its value and of the ends of its interval, and the text on hover."""

    label: str
    colour: int
    shown: str
    y: float
    x: float | None
    low: float | None
    high: float | None


@dataclass
class IntervalPlot:
    """Plot of values with their intervals, one row per system, on one scale."""

    title: str
    height: float
    scale: Axis
    rows: list[IntervalRow]
    width: float = PLOT_WIDTH
    label_width: float = LABEL_WIDTH


def interval_plot(title: str, points: Sequence[Point]) -> IntervalPlot | None:
    """Return a plot of the systems' values; None if fewer than two have a value."""
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
    """Histogram of scores: bars (x, y, width, height, text on hover), their scale, and the pixel of the median."""

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
    """Return the histogram of single items' scores; None if they have fewer than two different values."""
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
    """Line of one system: points (x, y, low, high, text on hover) in order."""

    label: str
    colour: int
    points: list[tuple[float, float, float | None, float | None, str]] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Return the points of the SVG polyline."""
        return " ".join(f"{x},{y}" for x, y, *_ in self.points)


@dataclass
class Curve:
    """Plot of a metric over the setting that the tasks of a curve vary, with a line per system."""

    title: str
    across: str
    horizontal: Axis
    vertical: Axis
    lines: list[CurveLine]
    width: float = CURVE_WIDTH
    height: float = CURVE_HEIGHT
    left: float = CURVE_LEFT


def curve(title: str, across: str, places: Sequence[float], points: Sequence[Sequence[Point]]) -> Curve | None:
    """Return the curve of a metric; None if no system has two values.

    Args:
        title: Name of the metric.
        across: Name and unit of the setting that varies.
        places: Values of the setting, ascending.
        points: The systems' values of the metric at each of the places.
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
