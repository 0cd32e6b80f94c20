"""What an evaluation is before anything is measured: it decides whether one may go on, and whether two may be compared."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

from spectron.errors import ConfigError
from spectron.evaluation.evaluator import Judges
from spectron.evaluation.metrics import NORMALIZER_VERSION
from spectron.evaluation.results.summary import FORMAT, RESULTS, sha256_of
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.systems.under_test import Subject
from spectron.evaluation.tasks import Task
from spectron.tracking.measure import flatten
from spectron.tracking.provenance import code_version
from spectron.tracking.store import RunRecord, TrackingSettings, find_run, list_runs

PLAN = Path("work") / "plan.json"  # in the folder of an evaluation
PLACES = ("manifest", "folder", "source", "revision", "lexicon", "grammar")  # what lies there has a hash of its own
BASELINES = "baselines"  # what stands beside the system changes nothing about it


def plan_of(suite: Suite, subject: Subject, judges: Judges, tasks: dict[str, Task]) -> dict[str, Any]:
    """All of the results but what is measured."""
    absent = judges.absent()
    scorers = {
        name: {"title": judge.title, "missing": absent[name]} if name in absent else judge.fingerprint()
        for name, judge in judges.present().items()
    }
    # Where judges and data lie, and what they are called, does not matter; what they are does.
    asked = {
        name: [scorer.get("weights_sha256"), without_places(suite.settings["judges"][name])]
        for name, scorer in scorers.items()
    }
    alike = [suite.config["seed"], NORMALIZER_VERSION, asked]
    common: dict[str, Any] = {
        "seed": suite.config["seed"],
        "normalizer_version": NORMALIZER_VERSION,
        "scorers": scorers,
    }
    described: dict[str, Any] = {}
    for name, task in tasks.items():
        data: dict[str, Any] = {
            "fingerprint": _by_name(task.data.fingerprint()),
            "items": len(task.ids),
            "ids_sha256": sha256_of(task.ids),
        }
        data["report"] = dict(getattr(task.data, "report", {}))  # what was used, and what was dropped and why
        settings, files = suite.settings["tasks"][name], sorted(chain.from_iterable(data["fingerprint"].values()))
        described[name] = {
            "fingerprint": sha256_of([*alike, files, data["ids_sha256"], _own(settings)]),
            "data": data,
            "curve": None if task.curve is None else vars(task.curve),
        }
    head = {"format": FORMAT, "suite": suite.name, "system": subject.described(), "code": code_version()}
    return {**head, **common, "settings": suite.settings, "tasks": described}


def _by_name(fingerprints: dict[str, str]) -> dict[str, list[str]]:
    """By names without their folders, which several files may share."""
    found: dict[str, list[str]] = {}
    for name, value in sorted(fingerprints.items()):
        found.setdefault(Path(name).name, []).append(value)
    return {name: sorted(values) for name, values in found.items()}


def without_places(settings: Any) -> Any:
    """Settings without what names a place: of one machine, or on a hub."""
    if isinstance(settings, dict):
        return {key: without_places(value) for key, value in settings.items() if key not in PLACES}
    return settings


def _own(settings: dict[str, Any]) -> Any:
    """Settings of a task that change what is found of the system under test."""
    arguments = {key: value for key, value in settings.get("init_args", {}).items() if key != BASELINES}
    return without_places(settings | {"init_args": arguments})


def resumable(name: str, reference: str, tracking: TrackingSettings, plan: dict[str, Any]) -> RunRecord:
    """The evaluation to go on with.

    Raises:
        ConfigError: if it is of another kind, or was given another plan.
    """
    candidates = [find_run(reference, tracking)] if reference else list_runs(name, tracking)
    found = [run for run in candidates if (run.folder / PLAN).is_file()]
    if not found:
        raise ConfigError(f"--resume: no evaluation of the suite {name} was begun here. Start one, without --resume")
    before = json.loads((found[0].folder / PLAN).read_text(encoding="utf-8"))
    was, now = flatten(before), flatten(plan)
    changed = {key: f"{was.get(key)} -> {now.get(key)}" for key in sorted({*was, *now}) if was.get(key) != now.get(key)}
    if changed:
        # The seed stands among the settings too, and is told once.
        twice = {f"settings.{key}" for key in changed}
        lines = [f"  {key}: {how}" for key, how in changed.items() if key not in twice]
        finished = " (it is finished)" if (found[0].folder / RESULTS).is_file() else ""
        older = "" if reference else ", name an older one, --resume RUN,"
        raise ConfigError(
            f"--resume: the evaluation {found[0].run_id}{finished} was begun otherwise, and cannot go on so:\n"
            + "\n".join(lines)
            + "\n"
            f"Take what it was begun with{older} or start a new one without --resume"
        )
    return found[0]
