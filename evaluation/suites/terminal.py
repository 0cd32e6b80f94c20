"""Tables of results for the terminal: a row per metric, a column per system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from spectron.evaluation.results.summary import MODEL
from spectron.terminal import visible
from spectron.tracking.measure import ARROWS, interval, number, text_table


def tables_of(results: dict[str, Any]) -> Iterator[Table | str]:
    """Yield a table per task, followed by lines on failures and skipped items with their reasons."""
    for name, task in results["tasks"].items():
        yield _table(name, task)
        yield from _remarks(task)


def _table(name: str, task: dict[str, Any]) -> Table:
    """Return the table of a task; to keep it narrow, intervals and counts are those of the system under test only."""
    systems = task["systems"]
    own = systems[MODEL]["measures"]
    others = [system for system in systems if system != MODEL]
    columns = [
        Column("metric", overflow="fold"),
        Column(MODEL, justify="right"),
        Column("95 % interval", justify="right", no_wrap=True),
        Column("n", justify="right"),
        *(Column(system.replace("_", " "), justify="right") for system in others),
    ]
    rows: list[list[str | Text]] = []
    for measure in dict.fromkeys(measure for summary in systems.values() for measure in summary["measures"]):
        entries = {system: summary["measures"].get(measure) for system, summary in systems.items()}
        first = next(entry for entry in entries.values() if entry is not None)
        unit = ", ".join(filter(None, (first["unit"], ARROWS[first["higher_is_better"]])))
        title = Text.assemble(visible(measure), (visible(f"  {unit}"), "dim"))
        mine = own.get(measure)
        cells = ["", "", ""]
        if mine is not None:
            cells = [_value(mine), interval(mine["low"], mine["high"]), str(mine["count"])]
        rows.append([title, *cells, *(_value(entries[system]) for system in others)])
    return text_table(f"{name}: {task['data']['items']} items", columns, rows)


def _value(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else number(entry["value"])


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
