"""Conditions under which evaluations can be compared: equal items, judges, normaliser, seed and settings.

The systems, their code and the times may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spectron.errors import ConfigError
from spectron.evaluation.report import MODEL, StoredEvaluation
from spectron.evaluation.suites.plan import BASELINES
from spectron.tracking.measure import flatten

SHOWN = 12  # differences that an error lists before it counts the rest
DECISIVE = (".fingerprint", ".ids", ".items")  # a task's fingerprint covers data, judges, normaliser, seed and settings
SHORT = 60  # characters of a value that an error shows
ANYWAY = "evaluate both with the same suite, or add --anyway to compare the items that they share"


@dataclass(frozen=True)
class Difference:
    """Key with different values in the first and another evaluation; the value of a missing key is ``nothing``."""

    key: str
    first: str
    other: str
    folder: str

    def __str__(self) -> str:
        first, other = (text if len(text) <= SHORT else text[:SHORT] + "…" for text in (self.first, self.other))
        return f"{self.key} is {first} in the first and {other} in {self.folder}"


def find_differences(evaluations: list[StoredEvaluation]) -> list[Difference]:
    """Return all conditions in which evaluations differ from the first one."""
    first, *others = evaluations
    wanted = _conditions(first)
    found = []
    for other in others:
        has = _conditions(other)
        keys = [key for key in wanted | has if wanted.get(key) != has.get(key)]
        if not any(key.startswith("tasks.") and key.endswith(DECISIVE) for key in keys):
            continue  # equal fingerprints: only paths or names differ
        # A fingerprint only states that something differs, so it is listed only if no other key shows the difference.
        keys = [key for key in keys if not key.endswith(".fingerprint")] or keys
        for key in keys:
            found.append(Difference(key, wanted.get(key, "nothing"), has.get(key, "nothing"), str(other.folder)))
    return found


def require_comparable(evaluations: list[StoredEvaluation], cure: str = ANYWAY) -> None:
    """Check that evaluations were made under the same conditions.

    Args:
        evaluations: Two or more evaluations.
        cure: What the user can do about a difference.

    Raises:
        ConfigError: with every difference and both values.
    """
    if found := find_differences(evaluations):
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = "".join(f"\n  {difference}" for difference in found[:SHOWN])
        raise ConfigError(
            f"these evaluations have different conditions, so their values cannot be compared:{listed}{more}\n"
            f"Cure: {cure}."
        )


def _conditions(evaluation: StoredEvaluation) -> dict[str, str]:
    """Return the values that must be equal, by key."""
    results = evaluation.results
    conditions: dict[str, Any] = {"normalizer_version": results["normalizer_version"], "seed": results["seed"]}
    for name, judge in results["judges"].items():
        # Equal weights are the same judge in any folder; only a judge without weights is identified by its title.
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
