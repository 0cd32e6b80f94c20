"""Evaluation of a system by a suite: batch by batch, resumable, on one process or several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import seed_everything
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spectron.errors import ConfigError, DataError, Interrupted
from spectron.evaluation.evaluator import absent_evidence
from spectron.evaluation.judges import Judges, require_independence
from spectron.evaluation.report import StoredEvaluation, stored_item, write_report
from spectron.evaluation.results.records import DoneBatches, Key, Record, Stopwatch, write_waveforms
from spectron.evaluation.results.summary import ITEMS, MODEL, RESULTS, Line, complete_parts, logged, summary_of
from spectron.evaluation.suites.distributed import Ranks
from spectron.evaluation.suites.plan import PLAN, plan_of, resumable
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.suites.terminal import tables_of
from spectron.evaluation.systems.under_test import SystemUnderTest, find_system
from spectron.evaluation.tasks import Bench, Task
from spectron.experiment.fitting import Outcome
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import console
from spectron.tracking.store import find_run

__all__ = ["EvaluationOutcome", "evaluate_suite", "tables_of"]

WORK = "work"
PROGRESS = (
    TextColumn("{task.description}"),
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

    Returns:
        The run and its results; None in every process except the first.

    Raises:
        SpectronError: for every mistake that the user can correct.
        Interrupted: if the user stopped the evaluation.
    """
    suite = Suite.read(suite_path, [*overrides, *([f"tracking.folder={runs}"] if runs else [])])
    seed_everything(suite.config["seed"], workers=True, verbose=False)
    with Ranks.joined() as ranks:
        place = ranks.device(device)
        subject = find_system(reference, suite.tracking()).to(place)
        judges, tasks = suite.judges(), suite.tasks()
        bench = Bench(subject.system, judges, place, subject.teacher_forced)
        _prepare_judges(suite, judges, subject)
        _prepare_tasks(suite, tasks, bench, ranks)
        plan = plan_of(suite, subject, judges, tasks)
        logger = _open_run(suite, plan, resume, ranks)
        results: dict[str, Any] = {}
        try:
            watch = Stopwatch(logger.folder / WORK / "times.json")
            _judge_batches(tasks, bench, logger.folder, ranks, watch)
            ranks.barrier()
            if ranks.rank == 0:
                results, items = _collect(plan, tasks, bench, logger.folder)
                results["times"] = watch.times()
                _write(results, items, logger)
        except KeyboardInterrupt as stop:
            logger.finalize("failed")
            raise Interrupted(f"Stopped. To resume, repeat the command with --resume {logger.run_id}") from stop
        except BaseException:
            logger.finalize("failed")
            raise
        ranks.barrier()
        if ranks.rank:
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


def _prepare_tasks(suite: Suite, tasks: dict[str, Task], bench: Bench, ranks: Ranks) -> None:
    """Read the manifests of all tasks; the first process makes missing data while the others wait."""
    for name, task in tasks.items():
        with suite.document.part("tasks", name).locating(), suite.document.naming_files("tasks"):
            if ranks.rank == 0:
                task.data.prepare_data()
            ranks.barrier()
            task.prepare(bench)


def _open_run(suite: Suite, plan: dict[str, Any], resume: str | None, ranks: Ranks) -> RunLogger:
    """Return the logger of a new run, or of the run to resume if its plan is equal; all processes use one run."""
    run_id = ""
    if ranks.rank == 0:
        run = None if resume is None else resumable(suite.name, resume, suite.tracking(), plan)
        logger = RunLogger(suite.name, suite.tracking(), run)
        run_id = logger.run_id
        (logger.folder / WORK).mkdir(parents=True, exist_ok=True)
        (logger.folder / PLAN).write_text(json.dumps(plan, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        logger.log_hyperparams(suite.config | {"system": plan["system"]})
    run_id = ranks.agree(run_id)
    return logger if ranks.rank == 0 else RunLogger(suite.name, suite.tracking(), find_run(run_id, suite.tracking()))


def _judge_batches(tasks: dict[str, Task], bench: Bench, folder: Path, ranks: Ranks, watch: Stopwatch) -> None:
    """Judge and store every batch that is not stored yet. Process r of n takes the batches r, r + n, r + 2n, ..."""
    done = DoneBatches(folder / WORK, ranks.rank)
    stored = set(done.read())
    with Progress(*PROGRESS, console=console(), disable=ranks.rank != 0) as progress:
        for key in _keys(tasks, bench, progress):
            if key in stored or key[2] % ranks.world != ranks.rank:
                continue
            name, system, place = key
            records = judged(tasks[name], system, place, bench)
            audio = [write_waveforms(record, folder, name, system) for record in records]
            done.add(key, [record.line(name, system, paths) for record, paths in zip(records, audio, strict=True)])
            if ranks.rank == 0:
                watch.keep()


def _keys(tasks: dict[str, Task], bench: Bench, progress: Progress) -> Iterator[Key]:
    """Yield all batches of all tasks. All systems answer a batch before the next one: its audio is read once."""
    for name, task in tasks.items():
        bars = {
            system: progress.add_task(f"{name}: {system}", total=len(task.batches)) for system in task.systems(bench)
        }
        for place in range(len(task.batches)):
            for system, bar in bars.items():
                yield name, system, place
                progress.advance(bar)


def judged(task: Task, system: str, place: int, bench: Bench) -> list[Record]:
    """Return the records of a batch.

    If the batch fails as a whole, its items are judged one by one, and only the items that fail alone are failures.
    A failure is a record with its reason, never a missing item.

    Raises:
        ConfigError: if the suite is wrong, not an item.
    """
    batch = task.batch(place)
    unreadable = [Record(name, failure=reason) for name, _, reason in (line.partition(": ") for line in batch.skipped)]
    try:
        return task.judge(system, place, bench) + unreadable
    except ConfigError:
        raise
    except Exception:
        records: list[Record] = []
        for row, name in enumerate(batch.ids):
            try:
                records += task.judge(system, place, bench, [row])
            except ConfigError:
                raise
            except Exception as error:
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
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in items)
    (folder / ITEMS).write_text(lines, encoding="utf-8")
    (folder / RESULTS).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report = write_report(StoredEvaluation(folder, results, [stored_item(line) for line in items]))
    logger.log_measures(logged(results), step=0)
    for path in (folder / RESULTS, folder / ITEMS):
        logger.log_artifact(path)
    logger.log_artifact(folder / "audio", "audio")
    logger.log_artifact(report, headline=True)
    logger.finalize("success")
