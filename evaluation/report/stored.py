"""Content of a finished evaluation's folder: ``results.json``, ``items.jsonl`` and ``audio/``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from spectron.errors import DataError
from spectron.evaluation.metrics import NumeratorAndDenominator
from spectron.evaluation.results.schemas import CURE, ITEM_LINE, RESULTS_FILE
from spectron.evaluation.results.summary import ITEMS, MODEL, RESULTS
from spectron.files import is_file
from spectron.stored_json import read_stored, read_stored_lines


@dataclass(frozen=True)
class StoredMeasure:
    """Value of one metric for one system in one task.

    Args:
        value: The value; None if nothing could be measured.
        unit: Its unit; empty for a plain ratio.
        higher_is_better: Direction; None if neither direction is better.
        count: Number of items measured.
        low: Lower end of the 95 % interval, if any.
        high: Upper end of the 95 % interval, if any.
        skipped: Number of items that could not be measured.
        skipped_because: The reason, in words.
        weight: Sum of the denominators by unit, such as ``{"words": 450}``.
        among_all: Whether the parts of an item depend on all other items, so that the metric of a subset of the items
            does not follow from their stored parts.
    """

    value: float | None
    unit: str = ""
    higher_is_better: bool | None = None
    count: int = 0
    low: float | None = None
    high: float | None = None
    skipped: int = 0
    skipped_because: str = ""
    weight: dict[str, float] = field(default_factory=dict)
    among_all: bool = False


@dataclass(frozen=True)
class StoredItem:
    """Answer of one system to one item: texts, lengths in seconds, audio files by kind, and each metric's parts.

    The parts are the numerator and the denominator that the item adds to the metric, or None if it was skipped.
    """

    task: str
    system: str
    id: str
    split: str = ""
    speaker: str = ""
    prompt_text: str = ""
    transcript: str | None = None
    continuation_text: str | None = None
    text: str = ""
    heard: str | None = None
    reference_text: str = ""
    answers: list[str] = field(default_factory=list)
    stopped: bool = True
    text_stopped: bool | None = None
    prompt_seconds: float = 0.0
    generated_seconds: float = 0.0
    reference_seconds: float = 0.0
    audio: dict[str, str] = field(default_factory=dict)
    parts: dict[str, NumeratorAndDenominator] = field(default_factory=dict)
    failure: str | None = None


@dataclass
class StoredEvaluation:
    """Finished evaluation: folder, content of ``results.json``, and all items in the order of ``items.jsonl``."""

    folder: Path
    results: dict[str, Any]
    items: list[StoredItem]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Data, settings and figures of each task, by name."""
        return self.results["tasks"]

    def systems(self, task: str) -> list[str]:
        """Return the names of a task's systems, the system under test first."""
        return sorted(self.tasks[task]["systems"], key=lambda name: name != MODEL)

    def measures(self, task: str, system: str) -> dict[str, StoredMeasure]:
        """Return a system's values by metric; the values of one split are named ``<metric>/<split>``."""
        stored = self.tasks[task]["systems"].get(system, {}).get("measures", {})
        return {name: StoredMeasure(**_known(StoredMeasure, measure)) for name, measure in stored.items()}

    def items_of(self, task: str, system: str) -> dict[str, StoredItem]:
        """Return a system's items of a task by id."""
        return {item.id: item for item in self.items if (item.task, item.system) == (task, system)}

    def audio_file(self, name: str) -> Path:
        """Return the path of an audio file that an item names.

        Raises:
            DataError: if it is outside the folder: a report of a downloaded evaluation must not contain private files.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise DataError(
                f"{self.folder / ITEMS} names an audio file outside its folder, {name}: the file was edited by hand",
                file=self.folder / ITEMS,
            )
        return path


def read_evaluation(folder: Path) -> StoredEvaluation:
    """Read a finished evaluation.

    Raises:
        DataError: if a file is missing or damaged, or written in another format than this version reads.
    """
    path, lines = folder / RESULTS, folder / ITEMS
    if not is_file(path):
        raise DataError(
            f"{folder} contains no {RESULTS}, so it is no finished evaluation. "
            "Name a folder that `spectron evaluate` wrote.",
            file=path,
        )
    if not is_file(lines):
        raise DataError(f"{folder} contains {RESULTS} but no {ITEMS}: copy the whole folder", file=lines)
    results = read_stored(path, RESULTS_FILE, CURE)
    systems = {name: set(task["systems"]) for name, task in results["tasks"].items()}
    items = []
    for number, line in enumerate(read_stored_lines(lines, ITEM_LINE, CURE), 1):
        if line["system"] not in systems.get(line["task"], ()):
            raise DataError(
                f"{lines}: item {number} is of the system {line['system']!a} in the task {line['task']!a}, which "
                f"{path} does not contain. {CURE}",
                file=lines,
            )
        items.append(stored_item(line))
    return StoredEvaluation(folder, results, items)


def stored_item(line: dict[str, Any]) -> StoredItem:
    """Return the item of a decoded line of ``items.jsonl``."""
    known = _known(StoredItem, line)
    known["parts"] = {
        name: None if pair is None else (float(pair[0]), float(pair[1])) for name, pair in line.get("parts", {}).items()
    }
    return StoredItem(**known)


def _known(kind: type, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that are fields of ``kind``: a later version may store more."""
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}
