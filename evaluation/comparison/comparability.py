"""Whether evaluations may be compared: what was measured, with what, and how has to be the same; the systems need not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spectron.errors import ConfigError
from spectron.evaluation.report import MODEL, StoredEvaluation
from spectron.evaluation.suites.plan import BASELINES
from spectron.tracking.measure import flatten

SHOWN = 12  # differences that an error lists before it counts the rest
DECISIVE = (".fingerprint", ".ids", ".items")  # a task's fingerprint holds data, judges, normaliser, seed and settings
SHORT = 60  # characters of a value that an error shows
ANYWAY = "evaluate both on the same suite, or add --anyway to compare the items that they share"


@dataclass(frozen=True)
class Difference:
    """A key that has another value in an evaluation than in the first; ``nothing`` where it is not there."""

    key: str
    first: str
    other: str
    folder: str

    def __str__(self) -> str:
        return f"{self.key} is {_short(self.first)} in the first and {_short(self.other)} in {self.folder}"


def find_differences(evaluations: list[StoredEvaluation]) -> list[Difference]:
    """All in which evaluations differ from the first, but for their systems, code and times."""
    first, *others = evaluations
    wanted = _conditions(first)
    found = []
    for other in others:
        has = _conditions(other)
        keys = [key for key in wanted | has if wanted.get(key) != has.get(key)]
        if not any(key.startswith("tasks.") and key.endswith(DECISIVE) for key in keys):
            continue  # they were made alike, whatever places and names they were given
        # A fingerprint says that something differs, and is worth a word only where nothing else says what.
        keys = [key for key in keys if not key.endswith(".fingerprint")] or keys
        found += [
            Difference(key, wanted.get(key, "nothing"), has.get(key, "nothing"), str(other.folder)) for key in keys
        ]
    return found


def require_comparable(evaluations: list[StoredEvaluation], cure: str = ANYWAY) -> None:
    """Refuse evaluations whose figures do not mean the same.

    Args:
        evaluations: Two or more.
        cure: What the user may do about it.

    Raises:
        ConfigError: naming all that differs, with both values.
    """
    if found := find_differences(evaluations):
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = "".join(f"\n  {difference}" for difference in found[:SHOWN])
        raise ConfigError(
            f"these evaluations were not made alike, so their figures do not compare:{listed}{more}\nCure: {cure}."
        )


def _conditions(evaluation: StoredEvaluation) -> dict[str, str]:
    """What has to agree, by key."""
    results = evaluation.results
    conditions: dict[str, Any] = {"normalizer_version": results["normalizer_version"], "seed": results["seed"]}
    for name, judge in results["judges"].items():
        # Weights identify a judge, independent of their location; judges without weights are identified by their title.
        identity = dict(judge or {})
        if identity.get("weights_sha256"):
            identity.pop("title", None)
        conditions |= flatten({"judges": {name: identity or "none"}})
    settings = flatten({"settings": results["settings"]})
    conditions |= {key: value for key, value in settings.items() if not key.endswith(f".{BASELINES}")}
    for name, task in evaluation.tasks.items():
        conditions |= flatten({"tasks": {name: {"data": task["data"], "fingerprint": task["fingerprint"]}}})
        conditions[f"tasks.{name}.ids"] = ", ".join(sorted(evaluation.items_of(name, MODEL)))
    return {key: str(value) for key, value in conditions.items()}


def _short(text: str) -> str:
    return text if len(text) <= SHORT else text[:SHORT] + "…"
