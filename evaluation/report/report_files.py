"""Report of an evaluation: one page with tables, plots and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectron.evaluation.report.figures import figure
from spectron.evaluation.report.listening import LISTENING_ITEMS, Column, Listening, listen
from spectron.evaluation.report.media import Media
from spectron.evaluation.report.metric_tables import ordered_names, task_table
from spectron.evaluation.report.page import TaskPage, write_page
from spectron.evaluation.report.plots import Curve, Histogram, IntervalPlot, Point, curve, histogram, interval_plot
from spectron.evaluation.report.stored import MODEL, StoredEvaluation

REPORT = "report.html"


def write_report(evaluation: StoredEvaluation, listening_items: int = LISTENING_ITEMS) -> Path:
    """Write ``report.html`` into the folder of an evaluation.

    Args:
        evaluation: A finished evaluation.
        listening_items: Items per task with audio; fewer if the page would exceed 10 MB.

    Returns:
        The path of the page.

    Raises:
        DataError: if an audio file is broken or outside the folder.
        WriteError: if the page cannot be written.
    """
    columns = {task: [Column(name, evaluation, name) for name in evaluation.systems(task)] for task in evaluation.tasks}
    listening = listen({task: shown for task, shown in columns.items() if shown}, listening_items, Media())
    return write_page(
        evaluation.folder / REPORT,
        "report.html",
        results=evaluation.results,
        tasks=[_task_page(evaluation, task, listening.get(task)) for task in evaluation.tasks],
        curves=_curves(evaluation),
        times=_times(evaluation.results.get("times", {})),
        data={
            name: {"fingerprint": task["fingerprint"], "data": task["data"]} for name, task in evaluation.tasks.items()
        },
    )


def _task_page(evaluation: StoredEvaluation, task: str, listening: Listening | None) -> TaskPage:
    """Return the content of the page about a task."""
    stored = evaluation.tasks[task]
    systems = stored["systems"]
    failures = [
        (name, each["id"], each["reason"])
        for name in evaluation.systems(task)
        for each in systems[name].get("failures", [])
    ]
    seconds = systems.get(MODEL, {}).get("seconds_of_speech")
    about = f"{stored['data']['items']} items"
    about += "." if seconds is None else f", {seconds:,.0f} s of speech by the model."
    if point := stored.get("curve"):
        about += f" {point['name'].capitalize()}: {figure(point['value'])} {point.get('unit', '')}".rstrip() + "."
    table, plots = task_table(evaluation, task), _plots(evaluation, task)
    return TaskPage(task, about, table, plots, listening, stored["fingerprint"], failures)


def _plots(evaluation: StoredEvaluation, task: str) -> list[tuple[IntervalPlot | None, Histogram | None]]:
    """Return for each metric the systems' intervals and the histogram of the model's items, without empty pairs."""
    scores: dict[str, list[float]] = {}
    for item in evaluation.items_of(task, MODEL).values():
        for name, parts in item.parts.items():
            if parts is not None and parts[1] != 0:
                scores.setdefault(name, []).append(parts[0] / parts[1])
    plots = []
    for name in _metrics(evaluation, [task]):
        pair = interval_plot(name, _points(evaluation, task, name)), histogram(name, scores.get(name, []))
        plots += [pair] if any(pair) else []
    return plots


def _metrics(evaluation: StoredEvaluation, tasks: list[str]) -> list[str]:
    """Return all metrics of these tasks, without their splits."""
    columns = [evaluation.measures(task, system) for task in tasks for system in evaluation.systems(task)]
    return [name for name in ordered_names(columns) if "/" not in name]


def _points(evaluation: StoredEvaluation, task: str, metric: str) -> list[Point]:
    """Return the values of a metric of all systems that have it."""
    points = []
    for colour, system in enumerate(evaluation.systems(task)):
        measure = evaluation.measures(task, system).get(metric)
        if measure is not None:
            points.append(Point(system, colour, measure.value, measure.low, measure.high))
    return points


def _curves(evaluation: StoredEvaluation) -> list[Curve]:
    """Return a plot per metric for each group of tasks with the same curve."""
    groups: dict[str, list[str]] = {}
    for task, stored in evaluation.tasks.items():
        if stored.get("curve"):
            groups.setdefault(stored["curve"]["name"], []).append(task)
    curves = []
    for tasks in groups.values():
        tasks.sort(key=lambda task: evaluation.tasks[task]["curve"]["value"])
        places = [float(evaluation.tasks[task]["curve"]["value"]) for task in tasks]
        setting = evaluation.tasks[tasks[0]]["curve"]
        across = setting["name"] + (f" ({setting['unit']})" if setting.get("unit") else "")
        for name in _metrics(evaluation, tasks):
            curves.append(curve(name, across, places, [_points(evaluation, task, name) for task in tasks]))
    return [found for found in curves if found is not None]


def _times(times: dict[str, Any]) -> str:
    """Return start and duration in words."""
    parts = [f"started {times['started']}"] if times.get("started") else []
    parts += [f"took {times['seconds']:,.0f} s"] if times.get("seconds") is not None else []
    return ", ".join(parts)
