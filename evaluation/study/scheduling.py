"""Runs a study: its jobs one after another, or side by side on several GPUs, and the table of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import torch

from spectron.errors import ConfigError, Interrupted, TrainingError
from spectron.evaluation.study.study import Job, Study
from spectron.evaluation.study.study_files import log_table, write_table
from spectron.evaluation.study.table import StudyTable, table_of
from spectron.tracking.measure import console

LOG = "log.txt"
PAUSE_SECONDS = 0.5


@dataclass
class StudyOutcome:
    """What a study leaves behind."""

    table: StudyTable
    files: list[Path]


@dataclass
class Working:
    """A job at work."""

    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    device: int | None
    since: float


def run_study(
    path: Path, overrides: Sequence[str] = (), at_once: int | None = None, rows: Sequence[str] = ()
) -> StudyOutcome:
    """Train and evaluate what is not done yet, and write the table.

    Args:
        path: The study's YAML.
        overrides: Changes, ``key=value``.
        at_once: Jobs at work at a time; by default as many as there are GPUs, and one without any.
        rows: Rows to work on, with those that they evaluate; by default all. The table has whatever is done.

    Raises:
        ConfigError: before anything is trained, for whatever is wrong in the study, its experiments, its suite or ``at_once``.
        TrainingError: if jobs failed, after all others are done.
        Interrupted: if the user stopped it.
    """
    if at_once is not None and at_once < 1:
        raise ConfigError(f"--jobs {at_once}: at least one job must be at work at a time")
    study = Study(path, overrides)
    wanted = study.with_trained(rows)
    study.require_columns()
    jobs = study.jobs()
    fingerprints = {job.folder: job.fingerprint() for job in jobs}
    finished = [job for job in jobs if is_done(job, fingerprints[job.folder])]
    waiting = [job for job in jobs if job not in finished and job.row in wanted]
    out = console()
    out.print(
        f"{study.name}: {len(jobs)} jobs, {len(finished)} done; each keeps its settings and its log in {study.folder}",
        soft_wrap=True,
    )
    gpus = torch.cuda.device_count()
    at_once = max(gpus, 1) if at_once is None else at_once
    free: list[int | None] = [slot % gpus if gpus else None for slot in range(at_once)]
    working: list[Working] = []
    failed: list[Job] = []
    try:
        while waiting or working:
            for job in [job for job in waiting if is_ready(job, study, finished)][: len(free)]:
                waiting.remove(job)
                working.append(start(job, fingerprints[job.folder], free.pop()))
                out.print(f"{job.title}: at work", soft_wrap=True)
            if not working:
                failed += waiting  # of rows that evaluate what a failed one should have trained
                break
            time.sleep(PAUSE_SECONDS)
            for at_work in [one for one in working if one.process.poll() is not None]:
                working.remove(at_work)
                at_work.log.close()
                free.append(at_work.device)
                job, minutes = at_work.job, (time.monotonic() - at_work.since) / 60
                (finished if at_work.process.returncode == 0 else failed).append(job)
                said = "done" if at_work.process.returncode == 0 else f"failed: {last_line(job)}"
                out.print(f"{job.title}: {said} ({minutes:.1f} min; {len(waiting)} to come)", soft_wrap=True)
                if job in finished and (waiting or working):  # for whoever looks while the others are at work
                    write_table(table_so_far(study, jobs, finished), study)
    except KeyboardInterrupt as stop:  # a terminal's Ctrl-C has reached the jobs too; each saves what it has
        raise Interrupted("Stopped. Go on with the same command.") from stop
    except BaseException:
        for at_work in working:
            at_work.process.send_signal(signal.SIGINT)
        raise
    finally:
        for at_work in working:
            at_work.process.wait()
            at_work.log.close()
    table = table_so_far(study, jobs, finished)
    files = write_table(table, study)
    log_table(table, study, files)
    if failed:
        listed = "".join(f"\n  {job.title}: {last_line(job)} ({job.folder / LOG})" for job in failed)
        raise TrainingError(
            f"{len(failed)} of {len(jobs)} jobs failed; the table in {files[0]} is of the others. Mend and repeat:{listed}"
        )
    return StudyOutcome(table, files)


def table_so_far(study: Study, jobs: list[Job], finished: list[Job]) -> StudyTable:
    """The table of the finished jobs, in the study's order: the order in which they ended is chance."""
    return table_of(study, [job for job in jobs if job in finished])


def is_done(job: Job, fingerprint: str) -> bool:
    """Whether a job has a result of the settings that it has now."""
    noted = job.noted()
    return noted.get("fingerprint") == fingerprint and Path(noted.get("evaluation", "-"), "results.json").is_file()


def is_ready(job: Job, study: Study, finished: list[Job]) -> bool:
    """Whether a job needs no model that is still to be trained."""
    needed = study.rows[job.row].trained_as
    return needed is None or any(other.row == needed and other.seed == job.seed for other in finished)


def start(job: Job, fingerprint: str, device: int | None) -> Working:
    """Set a process to work on a job, on one GPU where there are any."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(job).items()}
    described = {"job": plain, "fingerprint": fingerprint}
    surroundings = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)})
    log = (job.folder / LOG).open("ab")
    command = [sys.executable, "-m", "spectron.evaluation.study.jobs", json.dumps(described)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=surroundings)
    return Working(job, process, log, device, time.monotonic())


def last_line(job: Job) -> str:
    """The end of a job's log."""
    file = job.folder / LOG
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "the row that it evaluates was not trained")
