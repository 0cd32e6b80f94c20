"""Runs a study: its cells one after another, or side by side on several GPUs, and the table of all."""

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
from spectron.evaluation.study.study import Cell, Study
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
    """A cell at work."""

    cell: Cell
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    device: int | None
    since: float


def run_study(path: Path, overrides: Sequence[str] = (), jobs: int | None = None, rows: Sequence[str] = ()) -> StudyOutcome:
    """Train and evaluate what is not done yet, and write the table.

    Args:
        path: The study's YAML.
        overrides: Changes, ``key=value``.
        jobs: Cells at work at a time; by default as many as there are GPUs, and one without any.
        rows: Rows to work on, with those that they evaluate; by default all. The table has whatever is done.

    Raises:
        ConfigError: before anything is trained, for whatever is wrong in the study, its experiments, its suite or ``jobs``.
        TrainingError: if cells failed, after all others are done.
        Interrupted: if the user stopped it.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: at least one cell must be at work at a time")
    study = Study(path, overrides)
    wanted = study.with_trained(rows)
    study.require_columns()
    cells = study.cells()
    fingerprints = {cell.folder: cell.fingerprint() for cell in cells}
    finished = [cell for cell in cells if is_done(cell, fingerprints[cell.folder])]
    waiting = [cell for cell in cells if cell not in finished and cell.row in wanted]
    out = console()
    out.print(
        f"{study.name}: {len(cells)} cells, {len(finished)} done; each keeps its settings and its log in {study.folder}", soft_wrap=True
    )
    gpus = torch.cuda.device_count()
    jobs = max(gpus, 1) if jobs is None else jobs
    free: list[int | None] = [slot % gpus if gpus else None for slot in range(jobs)]
    working: list[Working] = []
    failed: list[Cell] = []
    try:
        while waiting or working:
            for cell in [cell for cell in waiting if is_ready(cell, study, finished)][: len(free)]:
                waiting.remove(cell)
                working.append(start(cell, fingerprints[cell.folder], free.pop()))
                out.print(f"{cell.title}: at work", soft_wrap=True)
            if not working:
                failed += waiting  # of rows that evaluate what a failed one should have trained
                break
            time.sleep(PAUSE_SECONDS)
            for at_work in [one for one in working if one.process.poll() is not None]:
                working.remove(at_work)
                at_work.log.close()
                free.append(at_work.device)
                cell, minutes = at_work.cell, (time.monotonic() - at_work.since) / 60
                (finished if at_work.process.returncode == 0 else failed).append(cell)
                said = "done" if at_work.process.returncode == 0 else f"failed: {last_line(cell)}"
                out.print(f"{cell.title}: {said} ({minutes:.1f} min; {len(waiting)} to come)", soft_wrap=True)
                if cell in finished and (waiting or working):  # for whoever looks while the others are at work
                    write_table(table_so_far(study, cells, finished), study)
    except KeyboardInterrupt as stop:  # a terminal's Ctrl-C has reached the cells too; each saves what it has
        raise Interrupted("Stopped. Go on with the same command.") from stop
    except BaseException:
        for at_work in working:
            at_work.process.send_signal(signal.SIGINT)
        raise
    finally:
        for at_work in working:
            at_work.process.wait()
            at_work.log.close()
    table = table_so_far(study, cells, finished)
    files = write_table(table, study)
    log_table(table, study, files)
    if failed:
        listed = "".join(f"\n  {cell.title}: {last_line(cell)} ({cell.folder / LOG})" for cell in failed)
        raise TrainingError(
            f"{len(failed)} of {len(cells)} cells failed; the table in {files[0]} is of the others. Mend and repeat:{listed}"
        )
    return StudyOutcome(table, files)


def table_so_far(study: Study, cells: list[Cell], finished: list[Cell]) -> StudyTable:
    """The table of the finished cells, in the study's order: the order in which they ended is chance."""
    return table_of(study, [cell for cell in cells if cell in finished])


def is_done(cell: Cell, fingerprint: str) -> bool:
    """Whether a cell has a result of the settings that it has now."""
    noted = cell.noted()
    return noted.get("fingerprint") == fingerprint and Path(noted.get("evaluation", "-"), "results.json").is_file()


def is_ready(cell: Cell, study: Study, finished: list[Cell]) -> bool:
    """Whether a cell needs no model that is still to be trained."""
    needed = study.rows[cell.row].trained_as
    return needed is None or any(other.row == needed and other.seed == cell.seed for other in finished)


def start(cell: Cell, fingerprint: str, device: int | None) -> Working:
    """Set a process to work on a cell, on one GPU where there are any."""
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(cell).items()}
    described = {"cell": plain, "fingerprint": fingerprint}
    surroundings = os.environ | ({} if device is None else {"CUDA_VISIBLE_DEVICES": str(device)})
    log = (cell.folder / LOG).open("ab")
    command = [sys.executable, "-m", "spectron.evaluation.study.cells", json.dumps(described)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=surroundings)
    return Working(cell, process, log, device, time.monotonic())


def last_line(cell: Cell) -> str:
    """The end of a cell's log."""
    file = cell.folder / LOG
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "the row that it evaluates was not trained")
