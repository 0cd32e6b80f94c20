"""Tables of results for the terminal: a row per metric, a column per system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from spectron.evaluation.results.summary import MODEL
from spectron.tracking.measure import ARROWS, number


def tables_of(results: dict[str, Any]) -> Iterator[Table | str]:
    """Yield a table per task, followed by lines on failures and skipped items with their reasons."""
    for name, task in results["tasks"].items():
        yield _table(name, task)
        yield from _remarks(task)


def _table(name: str, task: dict[str, Any]) -> Table:
    """Return the table of a task; to keep it narrow, intervals and counts are those of the system under test only."""
    systems = task["systems"]
    own = systems[MODEL]["measures"]
    table = Table(title=f"{name}: {task['data']['items']} items", title_justify="left", min_width=36)
    table.add_column("metric", overflow="fold", no_wrap=False)
    table.add_column(MODEL, justify="right")
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    others = [system for system in systems if system != MODEL]
    for system in others:
        table.add_column(system.replace("_", " "), justify="right")
    for measure in dict.fromkeys(measure for summary in systems.values() for measure in summary["measures"]):
        entries = {system: summary["measures"].get(measure) for system, summary in systems.items()}
        first = next(entry for entry in entries.values() if entry is not None)
        unit = ", ".join(filter(None, (first["unit"], ARROWS[first["higher_is_better"]])))
        title = Text.assemble(measure, (f"  {unit}", "dim"))
        mine = own.get(measure)
        cells = ["" if mine is None else _value(mine), _interval(mine), "" if mine is None else str(mine["count"])]
        table.add_row(title, *cells, *(_value(entry) for entry in (entries[system] for system in others)))
    return table


def _value(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else number(entry["value"])


def _interval(entry: dict[str, Any] | None) -> str:
    return (
        ""
        if entry is None or entry["low"] is None or entry["high"] is None
        else f"{number(entry['low'])} - {number(entry['high'])}"
    )


def _remarks(task: dict[str, Any]) -> Iterator[str]:
    """Yield lines on failures, at most five per system, and on skipped items."""
    for system, summary in task["systems"].items():
        for failure in summary["failures"][:5]:
            yield f"{system}: failed on {failure['id']}: {failure['reason']}"
        if len(summary["failures"]) > 5:
            yield f"{system}: failed on {len(summary['failures'])} items in total: see items.jsonl"
        reasons: dict[tuple[int, str], list[str]] = {}
        for name, entry in summary["measures"].items():
            if entry["skipped"] and "/" not in name:
                reasons.setdefault((entry["skipped"], entry["skipped_because"]), []).append(name)
        for (count, reason), names in reasons.items():
            yield f"{system}: {count} skipped in {', '.join(names)}: {reason}"
