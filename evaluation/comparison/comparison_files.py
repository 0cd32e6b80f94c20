"""Files of a comparison: CSV, Markdown, and a page with audio."""

from __future__ import annotations

from pathlib import Path

from spectron.evaluation.comparison.comparing import EvaluationComparison
from spectron.evaluation.comparison.comparison_table import about, as_csv, as_markdown, as_measure_table
from spectron.evaluation.report.listening import LISTENING_ITEMS, Column, Listening, listen
from spectron.evaluation.report.media import Media
from spectron.evaluation.report.page import TaskPage, write_page
from spectron.evaluation.report.plots import Histogram, IntervalPlot, Point, interval_plot
from spectron.evaluation.report.stored import MODEL
from spectron.files import write_text


def write_comparison(
    comparison: EvaluationComparison, folder: Path, listening_items: int = LISTENING_ITEMS
) -> list[Path]:
    """Write ``comparison.csv``, ``comparison.md`` and ``comparison.html``, which plays all answers to the same prompts.

    Args:
        comparison: The comparison.
        folder: Folder to write into; it is made if missing.
        listening_items: Items per task with audio; fewer if the page would exceed 10 MB.

    Returns:
        The paths of the files.

    Raises:
        DataError: if an audio file is broken.
        WriteError: if the files cannot be written.
    """
    tables = {"comparison.csv": as_csv(comparison), "comparison.md": as_markdown(comparison)}
    for name, text in tables.items():
        write_text(folder / name, text)
    named = list(zip(comparison.letters, comparison.evaluations, strict=True))
    columns = {
        task.name: [Column(letter, evaluation, MODEL) for letter, evaluation in named] for task in comparison.tasks
    }
    listening = listen(columns, listening_items, Media())
    page = write_page(
        folder / "comparison.html",
        "comparison.html",
        evaluations=named,
        different=comparison.different,
        tasks=_task_pages(comparison, listening),
    )
    return [*(folder / name for name in tables), page]


def _task_pages(comparison: EvaluationComparison, listening: dict[str, Listening]) -> list[TaskPage]:
    """Return the tasks with a table, a plot per metric, and the items to listen to."""
    pages = []
    for task in comparison.tasks:
        plots: list[tuple[IntervalPlot | None, Histogram | None]] = []
        for metric in (metric for metric in task.metrics if "/" not in metric.name):
            named = zip(comparison.letters, metric.measures, strict=True)
            points = [
                Point(name, place, m.value, m.low, m.high) for place, (name, m) in enumerate(named) if m is not None
            ]
            plot = interval_plot(metric.name, points)
            plots += [(plot, None)] if plot else []
        table = as_measure_table(comparison, task)
        pages.append(TaskPage(task.name, about(task) + ".", table, plots, listening.get(task.name)))
    return pages
