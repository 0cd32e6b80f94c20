"""Runs a suite on a system: batch after batch, each kept when it is done, on one process or shared among several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import seed_everything
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spectron.config.building import naming_files
from spectron.config.error_location import Section
from spectron.errors import ConfigError, DataError, Interrupted, SpectronError
from spectron.evaluation.evaluator import absent_evidence
from spectron.evaluation.judges import Judges, require_independence
from spectron.evaluation.report import read_evaluation, write_report
from spectron.evaluation.results.records import DoneBatches, Key, Record, Stopwatch, write_waveforms
from spectron.evaluation.results.summary import ITEMS, MODEL, RESULTS, complete_parts, logged, summary_of
from spectron.evaluation.suites.distributed import Ranks
from spectron.evaluation.suites.plan import PLAN, plan_of, resumable
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.suites.terminal import tables_of
from spectron.evaluation.systems.under_test import Subject, find_subject
from spectron.evaluation.tasks import Bench, Task
from spectron.experiment.fitting import Outcome
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import console
from spectron.tracking.store import find_run

__all__ = ["evaluate_suite", "read_evaluation", "tables_of"]

WORK = "work"


def evaluate_suite(
    reference: str,
    suite_path: Path,
    overrides: Sequence[str] = (),
    runs: str | None = None,
    resume: str | None = None,
    device: str | None = None,
) -> Outcome | None:
    """Put a system to a suite, and leave results, items, audio and a report in a run of the suite's name.

    All that the user may have got wrong is found before the first item: keys, data, judges and their weights.

    Args:
        reference: A run, a checkpoint, an export, or a YAML with the key ``system``.
        suite_path: The suite's YAML.
        overrides: Changes of the suite, ``key=value``.
        runs: Folder of the runs, in place of the suite's own.
        resume: An evaluation to go on with, by id or name; "" is the suite's newest; None starts a new one.
        device: Where to compute; by default a GPU where there is one.

    Returns:
        What it leaves behind, its measures in ``results.json``; None in all but the first of several processes.

    Raises:
        SpectronError: for whatever a user can mend.
        Interrupted: if the user stopped it.
    """
    suite = Suite.read(suite_path, [*overrides, *([f"tracking.folder={runs}"] if runs else [])])
    seed_everything(suite.config["seed"], workers=True, verbose=False)
    with Ranks.joined() as ranks:
        place = ranks.device(device)
        subject = find_subject(reference, suite.tracking()).to(place)
        judges, tasks = suite.judges(), suite.tasks()
        bench = Bench(subject.system, judges, place, subject.teacher_forced)
        _make_ready(suite, judges, subject, tasks, bench, ranks)
        plan = plan_of(suite, subject, judges, tasks)
        logger = _open_run(suite, plan, resume, ranks)
        try:
            watch = Stopwatch(logger.folder / WORK / "times.json")
            _work(tasks, bench, logger.folder, ranks, watch)
            ranks.barrier()
            if ranks.rank == 0:
                _finish(plan, tasks, bench, logger, watch.times())
        except KeyboardInterrupt as stop:
            logger.finalize("failed")
            raise Interrupted(f"Stopped. Go on with the same command and --resume {logger.run_id}") from stop
        except BaseException:
            logger.finalize("failed")
            raise
        ranks.barrier()
        return None if ranks.rank else Outcome(logger.run_id, logger.folder, [], logger.headlines, logger.ui_command)


@contextmanager
def _named(suite: Suite, section: str, name: str, kind: type) -> Iterator[None]:
    """Have an error about a task or a judge, of this class, begin with its key and end with the file that says it."""
    try:
        with naming_files(Section(section, suite.config[section]), suite.where):
            yield
    except SpectronError as error:
        key, said = f"{section}.{name}", str(error)
        if said.startswith(key):
            raise
        if isinstance(error, ConfigError) and error.key:
            raise error.within(f"{key}.init_args", suite.where((section, name))) from error
        argument = said.startswith(f"{kind.__name__}.")
        told = f"{key}.init_args.{said.removeprefix(kind.__name__ + '.')}" if argument else f"{key}: {said}"
        raise type(error)(f"{told} (in {suite.where((section, name))})") from error


def _make_ready(
    suite: Suite, judges: Judges, subject: Subject, tasks: dict[str, Task], bench: Bench, ranks: Ranks
) -> None:
    """Load the judges and read the data's manifests."""
    absent = judges.absent()
    for name, judge in judges.items():
        if name not in absent:
            with _named(suite, "judges", name, type(judge)):
                judge.prepare()
    if subject.weights is not None:
        require_independence(list(judges.values()), subject.weights)
    for name, task in tasks.items():
        with _named(suite, "tasks", name, type(task)):
            if ranks.rank == 0:
                task.data.prepare_data()
            ranks.barrier()
            task.prepare(bench)


def _open_run(suite: Suite, plan: dict[str, Any], resume: str | None, ranks: Ranks) -> RunLogger:
    """A new run, or the one to go on with, which must have been given the same plan."""
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


def _work(tasks: dict[str, Task], bench: Bench, folder: Path, ranks: Ranks, watch: Stopwatch) -> None:
    """Judge all batches that are not done yet; of several processes, each takes every so manyth."""
    done = DoneBatches(folder / WORK, ranks.rank)
    ready = set(done.read())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(), disable=ranks.rank != 0) as progress:
        for key in _keys(tasks, bench, progress):
            if key not in ready and key[2] % ranks.world == ranks.rank:
                name, system, place = key
                records = judged(tasks[name], system, place, bench)
                audio = [write_waveforms(record, folder, name, system) for record in records]
                done.add(key, [record.line(name, system, paths) for record, paths in zip(records, audio, strict=True)])
                if ranks.rank == 0:
                    watch.keep()


def _keys(tasks: dict[str, Task], bench: Bench, progress: Progress) -> Iterator[Key]:
    """All batches of all tasks, each for all systems in turn, so that its audio is read once."""
    for name, task in tasks.items():
        bars = {
            system: progress.add_task(f"{name}: {system}", total=len(task.batches)) for system in task.systems(bench)
        }
        for place in range(len(task.batches)):
            for system, bar in bars.items():
                yield name, system, place
                progress.advance(bar)


def judged(task: Task, system: str, place: int, bench: Bench) -> list[Record]:
    """The records of a batch. Where it fails as a whole, its items are tried one by one, so that only those at fault are failures."""
    batch = task.batch(place)
    unreadable = [Record(name, failure=reason) for name, _, reason in (line.partition(": ") for line in batch.skipped)]
    try:
        return task.judge(system, place, bench) + unreadable
    except ConfigError:
        raise  # of the suite, not of an item
    except Exception:
        records: list[Record] = []
        for row, name in enumerate(batch.ids):
            records += _alone(task, system, place, bench, row, name)
        return records + unreadable


def _alone(task: Task, system: str, place: int, bench: Bench, row: int, name: str) -> list[Record]:
    """The record of one item, a failure if need be."""
    try:
        return task.judge(system, place, bench, [row])
    except ConfigError:
        raise
    except (
        Exception
    ) as error:  # whatever a system or a judge makes of this item: it is counted and named, never dropped
        return [Record(name, task.split_of(place, row), failure=f"{type(error).__name__}: {error}")]


def _finish(
    plan: dict[str, Any], tasks: dict[str, Task], bench: Bench, logger: RunLogger, times: dict[str, Any]
) -> None:
    """Write items, results and report, and log them."""
    done = DoneBatches(logger.folder / WORK).read()
    results, every = json.loads(json.dumps(plan)), []
    for name, task in tasks.items():
        systems = {}
        for system in task.systems(bench):
            lines = [line for place in range(len(task.batches)) for line in done[name, system, place]]
            complete_parts(lines, task.metrics)
            systems[system] = summary_of(lines, task.metrics, absent_evidence(task.metrics, bench.judges))
            every += lines
        results["tasks"][name]["systems"] = systems
        failures = systems[MODEL]["failures"]
        if failures and len(failures) == systems[MODEL]["items"]:
            raise DataError(f"{name}: every item failed; the first, {failures[0]['id']}: {failures[0]['reason']}")
    results["times"] = times
    (logger.folder / ITEMS).write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in every), encoding="utf-8"
    )
    (logger.folder / RESULTS).write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report = write_report(logger.folder)
    logger.log_measures(logged(results), step=0)
    for path in (logger.folder / RESULTS, logger.folder / ITEMS):
        logger.log_artifact(path)
    logger.log_artifact(logger.folder / "audio", "audio")
    logger.log_artifact(report, headline=True)
    logger.finalize("success")
