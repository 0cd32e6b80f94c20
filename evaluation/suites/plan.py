"""Plan of an evaluation: its identity for resuming and comparing, known before anything is measured."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from spectron.errors import ConfigError
from spectron.evaluation.judges import Judges
from spectron.evaluation.metrics import NORMALIZER_VERSION
from spectron.evaluation.results.schemas import PLAN_CURE, PLAN_FILE
from spectron.evaluation.results.summary import FORMAT, RESULTS, sha256_of
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.systems.under_test import SystemUnderTest
from spectron.evaluation.tasks import Task
from spectron.stored_json import read_stored
from spectron.tracking.measure import flatten
from spectron.tracking.provenance import code_version
from spectron.tracking.store import RunRecord, TrackingSettings, find_run, list_runs

PLAN = Path("work") / "plan.json"  # in the folder of an evaluation
PLACES = ("manifest", "folder", "source", "revision", "lexicon", "grammar")  # paths; their content is hashed separately
BASELINES = "baselines"  # a task's key; baselines do not change the values of the system


def plan_of(suite: Suite, system: SystemUnderTest, judges: Judges, tasks: dict[str, Task]) -> dict[str, Any]:
    """Return the results without measured values: system, code, seed, judges, settings, data and fingerprints."""
    absent = judges.absent()
    identities = {
        name: {"title": judge.title, "missing": absent[name]} if name in absent else judge.fingerprint()
        for name, judge in judges.items()
    }
    # Of judges of one kind, the first is the default. Weights and settings of a judge matter, their location does not.
    evidence = {
        kind: [
            [name, identities[name].get("weights_sha256"), without_places(suite.settings["judges"][name])]
            for name in judges.giving(kind)
        ]
        for kind in sorted({kind for judge in judges.values() for kind in judge.gives})
    }
    shared = [suite.config["seed"], NORMALIZER_VERSION, evidence]
    described: dict[str, Any] = {}
    for name, task in tasks.items():
        data: dict[str, Any] = {
            "fingerprint": by_file_name(task.data.fingerprint()),
            "items": len(task.ids),
            "ids_sha256": sha256_of(task.ids),
        }
        data["report"] = dict(getattr(task.data, "report", {}))  # counts of used and dropped items, with reasons
        settings, files = suite.settings["tasks"][name], sorted(chain.from_iterable(data["fingerprint"].values()))
        described[name] = {
            "fingerprint": sha256_of([*shared, files, data["ids_sha256"], _without_baselines(settings)]),
            "data": data,
            "curve": None if task.curve is None else vars(task.curve),
        }
    return {
        "format": FORMAT,
        "suite": suite.name,
        "system": system.described(),
        "code": code_version(),
        "seed": suite.config["seed"],
        "normalizer_version": NORMALIZER_VERSION,
        "judges": identities,
        "settings": suite.settings,
        "tasks": described,
    }


def by_file_name(fingerprints: dict[str, str]) -> dict[str, list[str]]:
    """Return hashes by file name without the folder; files with the same name share a sorted list."""
    found: dict[str, list[str]] = {}
    for name, value in sorted(fingerprints.items()):
        found.setdefault(Path(name).name, []).append(value)
    return {name: sorted(values) for name, values in found.items()}


def without_places(settings: Any) -> Any:
    """Return settings without the keys of paths and hub names."""
    if isinstance(settings, dict):
        return {key: without_places(value) for key, value in settings.items() if key not in PLACES}
    return settings


def _without_baselines(settings: dict[str, Any]) -> Any:
    """Return the settings of a task that can change the values of the system under test."""
    arguments = {key: value for key, value in settings.get("init_args", {}).items() if key != BASELINES}
    return without_places(settings | {"init_args": arguments})


def resumable(name: str, reference: str, tracking: TrackingSettings, plan: dict[str, Any]) -> RunRecord:
    """Return the run of the evaluation to resume: the named one, or the newest of the suite.

    Raises:
        ConfigError: if there is none, or its plan differs from ``plan``.
        DataError: if its plan is damaged.
    """
    candidates = [find_run(reference, tracking)] if reference else list_runs(name, tracking)
    found = [run for run in candidates if (run.folder / PLAN).exists()]
    if not found:
        raise ConfigError(
            f"there is no evaluation of the suite {name} to resume: start one without --resume", key="--resume"
        )
    before = read_stored(found[0].folder / PLAN, PLAN_FILE, PLAN_CURE)
    was, now = flatten(before), flatten(plan)
    changed = {key: f"{was.get(key)} -> {now.get(key)}" for key in sorted({*was, *now}) if was.get(key) != now.get(key)}
    if changed:
        # The seed is also part of the settings; it is listed once.
        twice = {f"settings.{key}" for key in changed}
        lines = "".join(f"\n  {key}: {how}" for key, how in changed.items() if key not in twice)
        finished = "finished " if (found[0].folder / RESULTS).is_file() else ""
        older = "" if reference else ", name an older evaluation (--resume RUN)"
        raise ConfigError(
            f"the {finished}evaluation {found[0].run_id} was started with other settings:{lines}\n"
            f"Repeat its settings{older}, or start a new evaluation without --resume",
            key="--resume",
        )
    return found[0]
