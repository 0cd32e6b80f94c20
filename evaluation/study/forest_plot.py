"""Forest plot of a study: a panel per column, a line per row."""

from __future__ import annotations

from pathlib import Path

from spectron.evaluation.study.table import StudyTable
from spectron.files import written_whole
from spectron.tracking.measure import ARROWS

ACROSS, PANEL_INCHES, LINE_INCHES, MARGIN_INCHES = 3, 3.2, 0.28, 1.0
COLOURS = {True: "tab:green", False: "tab:red", None: "tab:blue"}


def draw_table(table: StudyTable, path: Path) -> Path:
    """Draw means with their 95 % intervals, and the first row's mean as a dotted line.

    Rows are green or red if they are clearly better or worse than the first row. Rows without a value are left out.
    """
    from matplotlib.figure import Figure

    columns, rows = list(table.columns), [name for name, entries in table.entries.items() if entries]
    down, across = -(-len(columns) // ACROSS), min(ACROSS, len(columns))
    size = (PANEL_INCHES * across + 2.5, (LINE_INCHES * len(rows) + MARGIN_INCHES) * down)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False).flatten()
    for panel in panels[len(columns) :]:
        panel.set_axis_off()
    for panel, column in zip(panels, columns, strict=False):
        unit, higher_is_better = table.columns[column]
        panel.set_title(column, fontsize=9, parse_math=False)
        panel.set_xlabel(f"{unit} {ARROWS[higher_is_better]}".strip(), fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(axis="x", alpha=0.3)
        for place, name in enumerate(rows):
            entry = table.entries[name].get(column)
            if entry is None:
                continue
            value = entry.value
            if place == 0:
                panel.axvline(value.value, linestyle=":", color="grey", linewidth=1)
            panel.plot([value.low, value.high], [place, place], color=COLOURS[entry.better], linewidth=2)
            panel.plot(value.value, place, "o", color=COLOURS[entry.better], markersize=5)
    panels[0].set_yticks(range(len(rows)), [table.rows[name].title for name in rows], fontsize=8, parse_math=False)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    with written_whole(path) as part:
        figure.savefig(part, dpi=110, format="png")
    return path
