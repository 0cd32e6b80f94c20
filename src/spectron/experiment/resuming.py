"""Choice of the run that training resumes, and the check that its configuration is still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from spectron.config.checking import import_class
from spectron.config.user_classes import code_files
from spectron.errors import CheckpointError, ConfigError, DataError, TrackingError
from spectron.experiment.experiment import Experiment
from spectron.experiment.loading import read_config
from spectron.stored_json import fields, mapping, read_stored, text
from spectron.tracking.measure import flatten
from spectron.tracking.store import RunRecord, find_run, list_runs
from spectron.training.slurm import requeued_job
from spectron.weights.checkpoint_files import read_checkpoint

CODE = "code"  # folder of a run that holds copies of the user's own files
FACTS = "facts.json"  # file of a run with what produced its results
SLURM_JOB = "slurm_job"  # its key of the SLURM job that trains, or trained last
DATA_KEY = "data_hashes"  # of a checkpoint: the hash of each file of the data
HASH_SHOWN = 12

# A resumed run may change how long it trains, how often it validates and logs, where it is recorded, and how many
# processes read its data, on which neither the order nor the content of batches depends.
FREE_TO_CHANGE = (
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.val_check_interval",
    "trainer.limit_val_batches",
    "trainer.num_sanity_val_steps",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "data.init_args.batching.num_workers",
    "tracking",
    "shared",
    "resolved",
)


def run_to_resume(experiment: Experiment, reference: str | None) -> RunRecord | None:
    """Find the run to resume; it has a last checkpoint and the same configuration.

    Args:
        experiment: What to train.
        reference: Id or name of the run; "" stands for the newest run of the experiment that has a checkpoint. None
            starts a new run, except in a requeued SLURM job: it resumes the run that it began.

    Raises:
        TrackingError: if there is no such run.
        CheckpointError: if the run has no checkpoint.
        ConfigError: if its configuration differs in a key that must stay.
    """
    run = find_requeued(experiment) if reference is None else find_resumable(experiment, reference)
    if run is None:
        return None
    for name, path in code_files(experiment.config).items():
        copy = run.folder / CODE / name
        if copy.is_file() and copy.read_bytes() != path.read_bytes():
            rank_zero_warn(
                f"{path} has changed since run {run.run_id} started. The run resumes with the changed file; "
                f"{copy} is a copy of the old file."
            )
    return run


def find_resumable(experiment: Experiment, reference: str) -> RunRecord:
    """Find the run that a user wants to resume; see ``run_to_resume``."""
    if reference:
        run = find_run(reference, experiment.tracking())
        if not run.last_checkpoint.is_file():
            raise CheckpointError(
                f"run {run.run_id} cannot be resumed: its checkpoint {run.last_checkpoint} is missing. "
                "Leave out --resume."
            )
    else:
        runs = [run for run in list_runs(experiment.name, experiment.tracking()) if run.last_checkpoint.is_file()]
        if not runs:
            raise TrackingError(
                f"no run of `{experiment.name}` has a checkpoint to resume from. Start a run without --resume."
            )
        run = runs[0]
    changed = changes_since(run, experiment)
    if changed:
        lines = "\n".join(f"  {change}" for change in changed)
        raise ConfigError(
            f"run {run.run_id} cannot be resumed, as its configuration was different:\n{lines}\n"
            "Restore the old values, or start a new run without --resume."
        )
    return run


def require_same_data(run: RunRecord, hashes: dict[str, str]) -> None:
    """Refuse to resume a run on data that have changed since it started.

    Args:
        run: The run.
        hashes: Hashes of the present data by file.

    Raises:
        DataError: naming the files that changed, disappeared or were added.
    """
    changes = changed_data(run.last_checkpoint, hashes)
    if changes:
        lines = "\n".join(f"  {name}: {before} -> {now}" for name, (before, now) in changes.items())
        raise DataError(
            f"run {run.run_id} cannot be resumed, as its data were different (SHA-256):\n{lines}\n"
            "Restore the files, or start a new run without --resume. A new run can start from the run's weights.",
            file=next(iter(changes)),
        )


def changed_data(checkpoint: Path, hashes: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the data that changed since a checkpoint was written: old and new hash by file, cut for messages.

    Args:
        checkpoint: A checkpoint in the folder of its run. One of an earlier version has no hashes; those of the run are
            used then.
        hashes: Hashes of the present data by file.

    Returns:
        Nothing for data without hashes.

    Raises:
        CheckpointError: if the stored hashes are damaged.
    """
    before = read_checkpoint(checkpoint, mmap=True).get(DATA_KEY)
    facts = checkpoint.parent.parent / FACTS
    if before is None and facts.is_file():
        before = read_facts(facts).get("data")
    if not before:
        return {}
    if not isinstance(before, dict) or not all(isinstance(text, str) for pair in before.items() for text in pair):
        raise CheckpointError(
            f"{checkpoint} holds no hashes of its data: `{DATA_KEY}` should map files to hashes. Use another one",
            file=checkpoint,
        )
    names = [name for name in sorted({*before, *hashes}) if before.get(name) != hashes.get(name)]
    return {
        name: (before.get(name, "nothing")[:HASH_SHOWN], hashes.get(name, "nothing")[:HASH_SHOWN]) for name in names
    }


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a run.

    Raises:
        DataError: if the file is damaged.
    """
    return read_stored(path, fields({}, {"data": mapping(text)}), "Copy it again, or start a new run without --resume")


def find_requeued(experiment: Experiment) -> RunRecord | None:
    """Find the newest run that this SLURM job began with the same configuration before it was requeued, if any."""
    job = requeued_job()
    if job is None:
        return None
    for run in list_runs(settings=experiment.tracking()):
        facts = run.folder / FACTS
        if run.experiment == experiment.name and run.last_checkpoint.is_file() and facts.is_file():
            began_in = read_facts(facts).get(SLURM_JOB)
            if began_in == job and not changes_since(run, experiment):
                rank_zero_info(f"SLURM started job {job} again: run {run.run_id} is resumed")
                return run
    return None


def changes_since(run: RunRecord, experiment: Experiment) -> list[str]:
    """Return the keys that must stay and have other values than in a run, with both values."""
    before, now = (flatten(without_observers(c)) for c in (read_config(run.last_checkpoint), experiment.stored_config))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and not is_free(key)]
    return [f"{key}: {before.get(key, 'nothing')} -> {now.get(key, 'nothing')}" for key in changed]


def is_free(key: str) -> bool:
    """Return whether a resumed run may change a key."""
    return any(f"{key}.".startswith(f"{free}.") for free in FREE_TO_CHANGE)


def without_observers(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the callbacks whose class states ``changes_training = False``."""
    callbacks = config.get("callbacks", {})
    return config | {"callbacks": {name: spec for name, spec in callbacks.items() if changes_training(spec)}}


def changes_training(callback: dict[str, Any]) -> bool:
    """Return whether a callback, given as ``class_path`` and ``init_args``, may change what is trained."""
    try:
        return getattr(import_class(callback["class_path"]), "changes_training", True)
    except ConfigError:  # a stored configuration may name a class that no longer exists
        return True
