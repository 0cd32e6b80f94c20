"""Execution of a study: its jobs one after another, or in parallel on several GPUs, and then its table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import torch

from spectron.errors import ConfigError, Interrupted, TrainingError
from spectron.evaluation.results.summary import RESULTS
from spectron.evaluation.study.study import Job, Study
from spectron.evaluation.study.study_files import log_table, write_table
from spectron.evaluation.study.table import StudyTable, table_of
from spectron.files import is_file
from spectron.processes.children import environment_of_child
from spectron.processes.workers import ended_by_system
from spectron.terminal import say

LOG = "log.txt"
PAUSE_SECONDS = 0.5
KILLED = (
    "spectron: error: the operating system ended this job, probably because memory was short. Lower --jobs, "
    "data.init_args.batching.num_workers or batch_seconds, and repeat the command\n"
)


@dataclass
class StudyOutcome:
    """Result of a study: its table, and the files that contain it."""

    table: StudyTable
    files: list[Path]


@dataclass
class RunningJob:
    """Job with a running process: log file, GPU (None for the CPU), and start by the monotonic clock in seconds."""

    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    device: int | None
    since: float


def run_study(
    path: Path,
    overrides: Sequence[str] = (),
    at_once: int | None = None,
    rows: Sequence[str] = (),
    trust: bool = False,
) -> StudyOutcome:
    """Train and evaluate the jobs that are not done yet, and write the table.

    Args:
        path: The study's YAML.
        overrides: Changes of the study, ``key=value``.
        at_once: Number of parallel jobs; None means one per GPU, or one without GPUs.
        rows: Rows to run, together with the rows that train their models; by default all. The table contains all
            finished jobs.
        trust: Whether Python code of an export that the experiment extends may run.

    Raises:
        ConfigError: before any training, if the study, its experiments, its suite or ``at_once`` is invalid.
        TrainingError: after all other jobs, if jobs failed.
        Interrupted: if the user stopped the study.
    """
    if at_once is not None and at_once < 1:
        raise ConfigError(f"must be at least 1, got {at_once}", key="--jobs")
    study = Study(path, overrides, trust)
    wanted = study.with_trained(rows)
    study.require_columns()
    jobs = study.jobs()
    fingerprints = {job.folder: job.fingerprint() for job in jobs}
    finished = [job for job in jobs if is_done(job, fingerprints[job.folder])]
    waiting = [job for job in jobs if job not in finished and job.row in wanted]
    done = f"{len(jobs)} jobs, {len(finished)} done"
    say(f"{study.name}: {done}; settings and logs of the jobs are in {study.folder}")

    def write_table_so_far() -> None:
        write_table(table_so_far(study, jobs, finished), study)

    failed = _run_jobs(study, waiting, finished, fingerprints, at_once, write_table_so_far)
    table = table_so_far(study, jobs, finished)
    files = write_table(table, study)
    log_table(table, study, files)
    if failed:
        listed = "".join(f"\n  {job.title}: {last_line(job)} ({job.folder / LOG})" for job in failed)
        raise TrainingError(
            f"{len(failed)} of {len(jobs)} jobs failed. {files[0]} contains the other jobs. "
            f"Correct the errors and repeat the command:{listed}"
        )
    return StudyOutcome(table, files)


def _run_jobs(
    study: Study,
    waiting: list[Job],
    finished: list[Job],
    fingerprints: dict[Path, str],
    at_once: int | None,
    after_each: Callable[[], None],
) -> list[Job]:
    """Run all waiting jobs, add the successful ones to ``finished``, and return the failed ones."""
    gpus = torch.cuda.device_count()
    free = [slot % gpus if gpus else None for slot in range(max(gpus, 1) if at_once is None else at_once)]
    running: list[RunningJob] = []
    failed: list[Job] = []
    try:
        while waiting or running:
            for job in [job for job in waiting if is_ready(job, study, finished)][: len(free)]:
                waiting.remove(job)
                running.append(start(job, fingerprints[job.folder], free.pop()))
                say(f"{job.title}: started")
            if not running:
                failed += waiting  # they evaluate models of jobs that failed
                break
            time.sleep(PAUSE_SECONDS)
            for ended in [one for one in running if one.process.poll() is not None]:
                running.remove(ended)
                if ended_by_system(ended.process.returncode):
                    ended.log.write(KILLED.encode())
                ended.log.close()
                free.append(ended.device)
                job, success = ended.job, ended.process.returncode == 0
                (finished if success else failed).append(job)
                result = "done" if success else f"failed: {last_line(job)}"
                minutes = (time.monotonic() - ended.since) / 60
                say(f"{job.title}: {result} ({minutes:.1f} min; {len(waiting)} waiting)")
                if success and (waiting or running):
                    after_each()
    except KeyboardInterrupt as stop:
        raise Interrupted("Stopped. To resume, repeat the command.") from stop
    finally:
        end(running)
    return failed


def table_so_far(study: Study, jobs: list[Job], finished: list[Job]) -> StudyTable:
    """Return the table of the finished jobs in the order of the study, not in the order in which they ended."""
    return table_of(study, [job for job in jobs if job in finished])


def is_done(job: Job, fingerprint: str) -> bool:
    """Return whether a job has a result of its current settings."""
    noted = job.noted()
    return noted.get("fingerprint") == fingerprint and is_file(Path(noted["evaluation"], RESULTS))


def is_ready(job: Job, study: Study, finished: list[Job]) -> bool:
    """Return whether the model that a job evaluates is trained, or the job trains it."""
    needed = study.rows[job.row].trained_as
    return needed is None or any(other.row == needed and other.seed == job.seed for other in finished)


def start(job: Job, fingerprint: str, device: int | None) -> RunningJob:
    """Start the process of a job, on one GPU or on the CPU."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(job).items()}
    described = {"job": plain, "fingerprint": fingerprint}
    gpu = {} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)}
    environment = os.environ | environment_of_child() | gpu
    log = (job.folder / LOG).open("ab")
    command = [sys.executable, "-m", "spectron.evaluation.study.jobs", json.dumps(described)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    return RunningJob(job, process, log, device, time.monotonic())


def end(running: list[RunningJob]) -> None:
    """Ask jobs to store their state and end, and wait for them; a Ctrl-C while waiting ends them at once.

    A Ctrl-C in a terminal reaches the jobs too, but a signal to this process alone does not.
    """
    try:
        for one in running:
            one.process.send_signal(signal.SIGTERM)
        for one in running:
            one.process.wait()
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()
            one.log.close()


def last_line(job: Job) -> str:
    """Return the last line of a job's log."""
    file = job.folder / LOG
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "the row that trains its model failed")
