"""Results as tables for the terminal: a row a measure, a column a system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from spectron.reporting import ARROWS, number


def tables_of(results: dict[str, Any]) -> Iterator[Table | str]:
    """A table a task, and below it what failed and what was skipped, with the reasons."""
    for name, task in results["tasks"].items():
        yield _table(name, task)
        yield from _remarks(task)


def _table(name: str, task: dict[str, Any]) -> Table:
    systems = task["systems"]
    table = Table(title=f"{name}: {task['data']['items']} items", title_justify="left", min_width=36)
    table.add_column("metric", overflow="fold")
    table.add_column("unit")
    table.add_column("better", justify="center")
    for system in systems:
        table.add_column(system.replace("_", " "), justify="right")
    names = list(dict.fromkeys(measure for summary in systems.values() for measure in summary["measures"]))
    for measure in names:
        entries = [summary["measures"].get(measure) for summary in systems.values()]
        told = next(entry for entry in entries if entry is not None)
        cells = [Text("" if entry is None else cell(entry)) for entry in entries]
        table.add_row(Text(measure), Text(told["unit"]), ARROWS[told["higher_is_better"]], *cells)
    return table


def cell(entry: dict[str, Any]) -> str:
    """A value, its 95 % interval, and the items where they are not all."""
    if entry["value"] is None:
        return "-"
    interval = "" if entry["low"] is None or entry["high"] is None else f" ({number(entry['low'])} - {number(entry['high'])})"
    return number(entry["value"]) + interval + (f" n={entry['count']}" if entry["skipped"] else "")


def _remarks(task: dict[str, Any]) -> Iterator[str]:
    """Failures and skipped items."""
    for system, summary in task["systems"].items():
        for failure in summary["failures"][:5]:
            yield f"{system} failed on {failure['id']}: {failure['reason']}"
        if len(summary["failures"]) > 5:
            yield f"{system} failed on {len(summary['failures'])} items in all: see items.jsonl"
        skipped = {(name, entry["skipped"], entry["skipped_because"]) for name, entry in summary["measures"].items() if entry["skipped"]}
        for name, count, reason in sorted(skipped):
            if "/" not in name:
                yield f"{system}: {name} leaves out {count}: {reason}"
