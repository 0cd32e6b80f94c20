"""What a finished evaluation left behind in its folder, read back: ``results.json``, ``items.jsonl`` and ``audio/``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from spectron.errors import DataError
from spectron.evaluation.metrics import NumeratorAndDenominator
from spectron.evaluation.results.summary import FORMAT, ITEMS, MODEL, RESULTS


@dataclass(frozen=True)
class StoredMeasure:
    """One figure of one system in one task.

    Args:
        value: None where nothing could be measured.
        unit: Empty for a plain ratio.
        higher_is_better: None where neither is.
        count: Items that it rests on.
        low: Lower end of the 95 % interval, where there is one.
        high: Upper end.
        skipped: Items that could not be used.
        skipped_because: Why, in words.
        weight: What the denominators add up to, such as ``{"words": 450}``.
        among_all: Whether what an item adds depends on all the others, so that fewer items are not measured by their own parts.
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
    """One sample of one system: texts, lengths in seconds, audio files by kind, and each metric's numerator and denominator."""

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
    prompt_seconds: float = 0.0
    generated_seconds: float = 0.0
    reference_seconds: float = 0.0
    audio: dict[str, str] = field(default_factory=dict)
    parts: dict[str, NumeratorAndDenominator] = field(default_factory=dict)
    failure: str | None = None


@dataclass
class StoredEvaluation:
    """A finished evaluation: its folder, ``results.json`` as it stands, and all items in the order in which they were written."""

    folder: Path
    results: dict[str, Any]
    items: list[StoredItem]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What was measured in each task, by name."""
        return self.results["tasks"]

    def systems(self, task: str) -> list[str]:
        """Names of a task's systems, the model under test first."""
        return sorted(self.tasks[task]["systems"], key=lambda name: name != MODEL)

    def measures(self, task: str, system: str) -> dict[str, StoredMeasure]:
        """Figures of a system by metric; those by split are named ``<metric>/<split>``."""
        stored = self.tasks[task]["systems"].get(system, {}).get("measures", {})
        return {name: StoredMeasure(**_known(StoredMeasure, measure)) for name, measure in stored.items()}

    def items_of(self, task: str, system: str) -> dict[str, StoredItem]:
        """A system's items of a task by id."""
        return {item.id: item for item in self.items if (item.task, item.system) == (task, system)}

    def audio_file(self, name: str) -> Path:
        """A file that an item names.

        Raises:
            DataError: if it lies outside the folder: an evaluation of a stranger must not show files that are not its own.
        """
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise DataError(
                f"{self.folder / ITEMS} names an audio file outside its folder, {name}: it was changed by hand"
            )
        return path


def read_evaluation(folder: Path) -> StoredEvaluation:
    """Read a finished evaluation.

    Raises:
        DataError: if a file is missing or broken, or written in another format than this version reads.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise DataError(
            f"{folder} holds no {RESULTS}: it is no finished evaluation. Name the folder that `spectron evaluate` wrote."
        )
    results = _decode(path.read_text(encoding="utf-8"), str(path))
    if results.get("format") != FORMAT:
        raise DataError(
            f"{path} has the format {results.get('format')!r} where {FORMAT!r} is read: evaluate again with this version"
        )
    return StoredEvaluation(folder, results, _read_items(folder / ITEMS))


def _read_items(path: Path) -> list[StoredItem]:
    if not path.is_file():
        raise DataError(f"{path.parent} holds {RESULTS} but no {ITEMS}: the folder was copied incompletely")
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            items.append(_item(_decode(line, f"{path} line {number}"), f"{path} line {number}"))
    return items


def _item(line: dict[str, Any], place: str) -> StoredItem:
    if missing := [name for name in ("task", "system", "id") if name not in line]:
        raise DataError(f"{place} names no {' and no '.join(missing)}: it was not written by `spectron evaluate`")
    known = _known(StoredItem, line)
    known["parts"] = {
        name: None if pair is None else (float(pair[0]), float(pair[1])) for name, pair in line.get("parts", {}).items()
    }
    return StoredItem(**known)


def _known(kind: type, stored: dict[str, Any]) -> dict[str, Any]:
    """The entries that ``kind`` has a field for: a later version may store more."""
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}


def _decode(text: str, place: str) -> dict[str, Any]:
    try:
        decoded = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is no JSON ({error}): it was cut short or changed by hand") from error
    if not isinstance(decoded, dict):
        raise DataError(
            f"{place} holds {type(decoded).__name__} where an object is expected: it was not written by `spectron evaluate`"
        )
    return decoded
