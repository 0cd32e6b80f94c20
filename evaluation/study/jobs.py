"""One job of a study in a process of its own: trains, or goes on training, then evaluates, and notes what it led to."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectron.errors import ConfigError, Interrupted, SpectronError, TrackingError
from spectron.evaluation.results.summary import sha256_of
from spectron.evaluation.study.study import Job, training_of
from spectron.evaluation.suites.evaluating import evaluate_suite
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.tracking.store import RunRecord, list_runs

FINISHED = "FINISHED"
LOCK = "at_work"


def trained_run(experiment: Experiment) -> RunRecord | None:
    """The newest run with the very settings of an experiment, finished or not.

    By the configuration that it has stored: a run of the same name may be of other settings, from before the study was changed.
    """
    try:
        runs = list_runs(experiment.name, experiment.tracking())
    except TrackingError:  # no run yet
        return None
    wanted = sha256_of(training_of(experiment.config))
    return next(
        (run for run in runs if (run.folder / "checkpoints" / "last.ckpt").is_file() and _settings_of(run) == wanted),
        None,
    )


def _settings_of(run: RunRecord) -> str:
    """SHA-256 of the settings that a run has stored, with the defaults of settings that there were none of when it was trained."""
    file = run.folder / "config.yaml"
    try:
        return sha256_of(training_of(Experiment.read(file).config)) if file.is_file() else ""
    except ConfigError:  # a setting that has gone since, or a class
        return ""


def work(job: Job, fingerprint: str) -> None:
    """Train where that is needed, evaluate, and note what came of it.

    Args:
        job: The job.
        fingerprint: Of its settings, noted with the result.
    """
    experiment = Experiment.read(job.experiment)
    run = trained_run(experiment)
    run_id = run.run_id if run else ""
    if job.trains and (run is None or run.status != FINISHED):
        run_id = fit(experiment, run.run_id if run else None).run_id
    elif run is None:
        raise TrackingError(f"{job.title}: the row whose models it evaluates has none for this seed: train that first")
    outcome = evaluate_suite(run_id, job.suite, job.overrides, str(experiment.tracking().runs_folder))
    if outcome is not None:
        job.note({"fingerprint": fingerprint, "run": run_id, "evaluation": str(outcome.folder)})


@contextmanager
def alone(job: Job) -> Iterator[None]:
    """Keep other processes off a job: two that train it would write into one run.

    Raises:
        TrackingError: if one is at work on it.
    """
    with (job.folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrackingError(
                f"{job.title}: another process is at work on it in {job.folder}. Let it end, or stop it"
            ) from error
        yield


def main(arguments: list[str]) -> int:
    """Work on the job that a study's process describes in JSON."""
    described = json.loads(arguments[0])
    job = Job(**described["job"] | {key: Path(described["job"][key]) for key in ("folder", "suite")})
    try:
        with alone(job):
            work(job, described["fingerprint"])
    except SpectronError as error:
        print(f"spectron: error: {error}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as stop:
        print(stop or "Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
