"""Jobs of the SLURM scheduler: the id of this job, whether it was requeued, and requeueing it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess

# As Lightning and its users expect: `#SBATCH --signal=SIGUSR1@90` announces the end of a job 90 seconds before.
REQUEUE_SIGNAL = signal.SIGUSR1
INTERACTIVE = ("bash", "interactive")  # names that SLURM gives to jobs with a shell, which nobody wants to requeue

log = logging.getLogger(__name__)


def slurm_job() -> str | None:
    """Return the id of this job, which stays the same when it is requeued; None outside a batch job."""
    if os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def requeued_job() -> str | None:
    """Return the id of this job if it was requeued, otherwise None."""
    return slurm_job() if int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 else None


def requeue() -> None:
    """Ask SLURM to start this job again; a refusal is logged, as the run can also be resumed by hand."""
    command = ["scontrol", "requeue", slurm_job() or ""]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        log.warning("`%s` failed: %s", " ".join(command), problem)
