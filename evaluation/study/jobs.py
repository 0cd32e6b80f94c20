"""Process of one job of a study: it trains or resumes training, evaluates, and stores the names of both runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectron.config.composition import compose
from spectron.errors import ConfigError, EndedByAnother, Interrupted, LockedError, SpectronError, TrackingError
from spectron.evaluation.results.summary import sha256_of
from spectron.evaluation.study.study import Job, training_of
from spectron.evaluation.suites.evaluating import evaluate_suite
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.experiment.preflight import join_processes
from spectron.files import Lock, machine_error, remove_abandoned
from spectron.processes.children import end_with_parent, interrupted_by_sigterm
from spectron.processes.ranks import known_to_all, of_first
from spectron.terminal import protect_terminal, say
from spectron.tracking.store import RunRecord, list_runs

FINISHED = "FINISHED"
LOCK = "at_work"


def trained_run(experiment: Experiment) -> RunRecord | None:
    """Return the newest run with exactly the settings of an experiment, finished or not; None if there is none.

    Runs are compared by their stored configuration, because a run of the same name can be older than a change of the
    study.
    """
    try:
        runs = list_runs(experiment.name, experiment.tracking())
    except TrackingError:  # no run yet
        return None
    wanted = sha256_of(training_of(experiment.config))
    trained = (run for run in runs if (run.folder / "checkpoints" / "last.ckpt").is_file())
    return next((run for run in trained if _settings_of(run) == wanted), None)


def _settings_of(run: RunRecord) -> str:
    """Return the SHA-256 of a run's stored settings, with the defaults of settings that are newer than the run."""
    file = run.folder / "config.yaml"
    try:
        return (
            sha256_of(training_of(Experiment(compose(file, stored=True, trust=True)).config)) if file.is_file() else ""
        )
    except ConfigError:  # a stored setting or class no longer exists
        return ""


def work(job: Job, fingerprint: str) -> None:
    """Train if necessary, evaluate, and store the result in the job's folder.

    Args:
        job: The job.
        fingerprint: Fingerprint of its settings, which is stored with the result.

    Raises:
        TrackingError: if the job evaluates a model of another row that is not trained, or another process has locked
            the job.
    """
    experiment = Experiment.read(job.experiment, trust=job.trust)
    join_processes(experiment)
    with alone(job):
        run = of_first(lambda: trained_run(experiment))
        run_id = run.run_id if run else ""
        if job.trains and (run is None or run.status != FINISHED):
            run_id = fit(experiment, run.run_id if run else None).run_id
        elif run is None:
            message = f"{job.title}: the row that trains its model has no run with this seed: run that row first"
            raise known_to_all(TrackingError(message))
        # The run is this job's own: its code has been checked as the experiment's.
        runs = str(experiment.tracking().runs_folder)
        outcome = evaluate_suite(run_id, job.suite, job.overrides, runs, trust=True)
        if outcome is not None:
            job.note({"fingerprint": fingerprint, "run": run_id, "evaluation": str(outcome.folder)})


@contextmanager
def alone(job: Job) -> Iterator[None]:
    """Lock a job for this process and those that train with it.

    Raises:
        TrackingError: if another process has locked it.
    """
    locks: list[Lock] = []

    def lock() -> None:
        try:
            locks.append(Lock(job.folder / LOCK))
        except LockedError as error:
            raise TrackingError(
                f"{job.title}: another process runs this job: {error.message}. Wait for its end, or stop it",
                file=error.file,
            ) from error
        remove_abandoned(job.folder)

    of_first(lock)
    try:
        yield
    finally:
        for held in locks:
            held.release()


def main(arguments: list[str]) -> int:
    """Run the job that the process of a study describes in JSON, and return the exit status."""
    end_with_parent()
    protect_terminal()
    described = json.loads(arguments[0])
    job = Job(**described["job"] | {key: Path(described["job"][key]) for key in ("folder", "suite")})
    try:
        with interrupted_by_sigterm():
            work(job, described["fingerprint"])
    except EndedByAnother:
        return 0
    except Exception as error:
        known = error if isinstance(error, SpectronError) else machine_error(error)
        if known is None:
            raise
        say(*f"spectron: error: {known}".split("\n"), error=True)
        return 1
    except (Interrupted, KeyboardInterrupt) as stop:
        say(*(str(stop) or "Stopped.").split("\n"), error=True)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
