"""Evaluation of a system by a suite: batch by batch, resumable, on one process or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning import seed_everything
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spectron.errors import ConfigError, DataError, EndedByAnother, Interrupted, WriteError
from spectron.evaluation.evaluator import absent_evidence
from spectron.evaluation.judges import Judges, require_independence
from spectron.evaluation.report import StoredEvaluation, stored_item, write_report
from spectron.evaluation.results.records import DoneBatches, Key, Record, Stopwatch, write_waveforms
from spectron.evaluation.results.summary import ITEMS, MODEL, RESULTS, Line, complete_parts, logged, summary_of
from spectron.evaluation.suites.distributed import joined, own_device
from spectron.evaluation.suites.plan import PLAN, plan_of, resumable
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.suites.terminal import tables_of
from spectron.evaluation.systems.under_test import SystemUnderTest, find_system
from spectron.evaluation.tasks import Bench, Task
from spectron.experiment.fitting import Outcome
from spectron.files import machine_error, write_text
from spectron.processes.ranks import all_or_none, everyone, known_to_all, of_first, rank, world
from spectron.stored_json import storable
from spectron.terminal import visible
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import console, flatten

__all__ = ["EvaluationOutcome", "evaluate_suite", "tables_of"]

WORK = "work"
PROGRESS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("batches"),
    TimeRemainingColumn(),
)


@dataclass
class EvaluationOutcome(Outcome):
    """Outcome of an evaluation: its run, and ``results`` as ``results.json`` holds them."""

    results: dict[str, Any]


def evaluate_suite(
    reference: str,
    suite_path: Path,
    overrides: Sequence[str] = (),
    runs: str | None = None,
    resume: str | None = None,
    device: str | None = None,
    trust: bool = False,
) -> EvaluationOutcome | None:
    """Evaluate a system with a suite; write results, items, audio and a report into a run with the suite's name.

    Keys, data, judges and their weights are checked before the first item is answered.

    Args:
        reference: A run, a checkpoint, an export, or a YAML with the key ``system``.
        suite_path: The suite's YAML.
        overrides: Changes of the suite, ``key=value``.
        runs: Folder of the runs; replaces the suite's ``tracking.folder``.
        resume: Id or name of the evaluation to resume; "" means the newest of this suite, None starts a new one.
        device: Device to compute on; by default a GPU if there is one.
        trust: Whether Python code that a checkpoint or an export names may run.

    Returns:
        The run and its results; None in every process except the first.

    Raises:
        SpectronError: for every mistake that the user can correct.
        Interrupted: if the user stopped the evaluation.
    """
    suite = Suite.read(suite_path, [*overrides, *([f"tracking.folder={runs}"] if runs else [])])
    seed_everything(suite.config["seed"], workers=True, verbose=False)
    with joined():
        with all_or_none():
            place = own_device(device)
            subject = find_system(reference, suite.tracking(), trust).to(place)
            judges, tasks = suite.judges(), suite.tasks()
            bench = Bench(subject.system, judges, place, subject.teacher_forced)
            _prepare_judges(suite, judges, subject)
        _prepare_tasks(suite, tasks, bench)
        plan = _common_plan(suite, subject, judges, tasks)
        logger = _open_run(suite, plan, resume)
        results: dict[str, Any] = {}

        def collect() -> None:
            collected, items = _collect(plan, tasks, bench, logger.folder)
            results.update(collected, times=watch.times())
            _write(results, items, logger)

        try:
            watch = Stopwatch(logger.folder / WORK / "times.json")
            # An error ends its process at once, and torchrun the others: they do not meet before their last batches.
            _judge_batches(tasks, bench, logger.folder, watch)
            of_first(collect)
        except KeyboardInterrupt as stop:
            logger.finalize("failed")
            if rank() > 0:
                raise EndedByAnother from stop
            raise Interrupted(f"Stopped. To resume, repeat the command with --resume {logger.run_id}") from stop
        except BaseException as error:
            logger.finalize("failed")
            if (found := machine_error(error)) is None:
                raise
            kept = f"What was judged is kept: repeat the command with --resume {logger.run_id}"
            raise found.changed(message=f"{found.message}. {kept}") from error
        if rank() > 0:
            return None
        return EvaluationOutcome(logger.run_id, logger.folder, [], logger.headlines, logger.ui_command, results)


def _prepare_judges(suite: Suite, judges: Judges, subject: SystemUnderTest) -> None:
    """Load the weights of all judges, and refuse a judge that shares weights with the system under test."""
    absent = judges.absent()
    for name, judge in judges.items():
        if name not in absent:
            with suite.document.part("judges", name).locating():
                judge.prepare()
    if subject.weights is not None:
        require_independence(list(judges.values()), subject.weights)


def _prepare_tasks(suite: Suite, tasks: dict[str, Task], bench: Bench) -> None:
    """Read the manifests of all tasks; the first process makes missing data while the others wait."""

    def make(task: Task, key: str) -> None:
        with suite.document.part("tasks", key).locating(), suite.document.naming_files("tasks"):
            task.data.prepare_data()

    for name, task in tasks.items():
        of_first(partial(make, task, name))
        with all_or_none(), suite.document.part("tasks", name).locating(), suite.document.naming_files("tasks"):
            task.prepare(bench)


def _common_plan(suite: Suite, subject: SystemUnderTest, judges: Judges, tasks: dict[str, Task]) -> dict[str, Any]:
    """Return the plan of the evaluation.

    Raises:
        DataError: if the processes have different plans: they would answer parts of different evaluations.
    """
    with all_or_none():
        plan = plan_of(suite, subject, judges, tasks)
    flat = [flatten(each) for each in everyone(plan)]
    different = sorted(key for key in set().union(*flat) if len({each.get(key) for each in flat}) > 1)
    if different:
        raise known_to_all(
            DataError(
                f"the processes differ in {', '.join(different)}. Give them the same files, and name the model by its "
                "checkpoint if it is still in training"
            )
        )
    return plan


def _open_run(suite: Suite, plan: dict[str, Any], resume: str | None) -> RunLogger:
    """Return the logger of a new run, or of the run to resume if its plan is equal; all processes use one run."""
    run = of_first(lambda: None if resume is None else resumable(suite.name, resume, suite.tracking(), plan))
    logger = RunLogger(suite.name, suite.tracking(), run)

    def keep() -> None:
        write_text(logger.folder / PLAN, json.dumps(storable(plan), indent=2, ensure_ascii=False) + "\n")
        logger.log_hyperparams(suite.config | {"system": plan["system"]})

    of_first(keep)
    return logger


def _judge_batches(tasks: dict[str, Task], bench: Bench, folder: Path, watch: Stopwatch) -> None:
    """Judge and store every batch that is not stored yet. Process r of n takes the batches r, r + n, r + 2n, ..."""
    done = DoneBatches(folder / WORK, rank())
    stored = set(done.read())
    with Progress(*PROGRESS, console=console(), disable=rank() != 0) as progress:
        for key in _keys(tasks, bench, progress):
            if key in stored or key[2] % world() != rank():
                continue
            name, system, place = key
            records = judged(tasks[name], system, place, bench)
            audio = [write_waveforms(record, folder, name, system) for record in records]
            done.add(key, [record.line(name, system, paths) for record, paths in zip(records, audio, strict=True)])
            if rank() == 0:
                watch.keep()


def _keys(tasks: dict[str, Task], bench: Bench, progress: Progress) -> Iterator[Key]:
    """Yield all batches of all tasks. All systems answer a batch before the next one: its audio is read once."""
    for name, task in tasks.items():
        bars = {
            system: progress.add_task(visible(f"{name}: {system}"), total=len(task.batches))
            for system in task.systems(bench)
        }
        for place in range(len(task.batches)):
            for system, bar in bars.items():
                yield name, system, place
                progress.advance(bar)


def judged(task: Task, system: str, place: int, bench: Bench) -> list[Record]:
    """Return the records of a batch.

    If the batch fails as a whole, its items are judged one by one, and only the items that fail alone are failures.
    A failure is a record with its reason, never a missing item. A full disk, or too little memory for a single item, is
    no failure of the system.

    Raises:
        ConfigError: if the suite is wrong, not an item.
        WriteError: if the disk is full.
        MemoryExhaustedError: if the memory does not suffice for a single item.
    """
    batch = task.batch(place)
    unreadable = [Record(name, failure=reason) for name, _, reason in (line.partition(": ") for line in batch.skipped)]
    try:
        return task.judge(system, place, bench) + unreadable
    except ConfigError:
        raise
    except Exception as error:
        if isinstance(found := machine_error(error), WriteError):
            raise found from error
        records: list[Record] = []
        for row, name in enumerate(batch.ids):
            try:
                records += task.judge(system, place, bench, [row])
            except ConfigError:
                raise
            except Exception as error:
                if (found := machine_error(error)) is not None:
                    raise found from error
                reason = f"{type(error).__name__}: {error}"
                records.append(Record(name, task.split_of(place, row), failure=reason))
        return records + unreadable


def _collect(
    plan: dict[str, Any], tasks: dict[str, Task], bench: Bench, folder: Path
) -> tuple[dict[str, Any], list[Line]]:
    """Return the results, the plan with every task's figures, and the lines of all items.

    Raises:
        DataError: if the system under test failed on every item of a task.
    """
    done = DoneBatches(folder / WORK).read()
    measured: dict[str, Any] = {}
    items: list[Line] = []
    for name, task in tasks.items():
        systems = {}
        for system in task.systems(bench):
            lines = [line for place in range(len(task.batches)) for line in done[name, system, place]]
            complete_parts(lines, task.metrics)
            systems[system] = summary_of(lines, task.metrics, absent_evidence(task.metrics, bench.judges))
            items += lines
        measured[name] = plan["tasks"][name] | {"systems": systems}
        failures = systems[MODEL]["failures"]
        if failures and len(failures) == systems[MODEL]["items"]:
            raise DataError(f"{name}: every item failed; the first, {failures[0]['id']}: {failures[0]['reason']}")
    return plan | {"tasks": measured}, items


def _write(results: dict[str, Any], items: list[Line], logger: RunLogger) -> None:
    """Write results, items and report into the run's folder, and log them."""
    folder = logger.folder
    write_text(folder / ITEMS, "".join(json.dumps(storable(line), ensure_ascii=False) + "\n" for line in items))
    write_text(folder / RESULTS, json.dumps(storable(results), indent=2, ensure_ascii=False) + "\n")
    report = write_report(StoredEvaluation(folder, results, [stored_item(line) for line in items]))
    logger.log_measures(logged(results), step=0)
    for path in (folder / RESULTS, folder / ITEMS):
        logger.log_artifact(path)
    logger.log_artifact(folder / "audio", "audio")
    logger.log_artifact(report, headline=True)
    logger.finalize("success")
