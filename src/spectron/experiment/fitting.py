"""The verbs of an experiment: fit trains and records it, evaluate validates a trained model, inspect only builds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from spectron.config.user_classes import code_files
from spectron.errors import CheckpointError, EndedByAnother, Interrupted, TrackingError
from spectron.experiment.experiment import Experiment
from spectron.experiment.loading import CONFIG_KEY, YAML_FOLDER_TAG, Source, restore
from spectron.experiment.preflight import join_processes, prepare_data, require_ready, require_sources, set_up_data
from spectron.experiment.resuming import (
    CODE,
    DATA_KEY,
    FACTS,
    SLURM_JOB,
    changed_data,
    require_same_data,
    run_to_resume,
)
from spectron.files import write_text
from spectron.processes.ranks import all_or_none, everyone, known_to_all, of_first, rank
from spectron.processes.workers import naming_killed_workers
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import MetricValue, flatten
from spectron.tracking.provenance import (
    device_name,
    fingerprint,
    git_state,
    package_versions,
    parameter_counts,
    trainable_line,
    trainable_share,
)
from spectron.training.slurm import REQUEUE_SIGNAL, requeue, slurm_job
from spectron.training.stopping import signal_that_stopped
from spectron.weights.checkpoint_files import read_checkpoint


@runtime_checkable
class Describable(Protocol):
    """A task that reports the tensor shapes through its model."""

    def shapes(self, batch: Any) -> dict[str, tuple[int, ...]]:
        """Return the tensor shapes by name, in the order of the computation."""


@dataclass
class Outcome:
    """Result of a run.

    Args:
        run_id: Id of the run in MLflow.
        folder: Local folder of the run.
        measures: Metrics of the last validation, losses first.
        headlines: Files that a person should look at or listen to.
        ui_command: Command that shows the run in MLflow.
    """

    run_id: str
    folder: Path
    measures: list[MetricValue]
    headlines: list[Path]
    ui_command: str


class KeepOrigin(Callback):
    """Callback that stores the configuration and the hashes of the data in every checkpoint.

    A checkpoint alone rebuilds its model, and shows whether data have changed since.
    """

    def __init__(self, config: dict[str, Any], data: dict[str, str]) -> None:
        self.origin = {CONFIG_KEY: config, DATA_KEY: data}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add both as plain values, which ``weights_only`` loading accepts."""
        checkpoint.update(self.origin)


def fit(experiment: Experiment, resume: str | None = None) -> Outcome:
    """Train an experiment in a new run, or resume one of its runs.

    Every mistake that a user can make is found before the run is opened in MLflow, the cheap checks first.

    Args:
        experiment: What to train.
        resume: Id or name of the run to resume; "" stands for the experiment's newest run; None starts a new run.

    Raises:
        SpectronError: for an error that the user can mend.
        Interrupted: if the user stopped the training.
    """
    join_processes(experiment)
    run = of_first(lambda: run_to_resume(experiment, resume))
    with all_or_none():
        require_sources(experiment, weights=run is None)
        callbacks = experiment.callbacks()
    data = prepare_data(experiment)
    with all_or_none():
        hashes = fingerprint(data)
        if run is not None:
            require_same_data(run, hashes)
        module = experiment.module(weights=run is None)
        experiment.require_monitored(module, callbacks)
        trainer = experiment.trainer([*callbacks, KeepOrigin(experiment.stored_config, hashes)])
        require_ready(experiment, module, callbacks)
    set_up_data(experiment, trainer, module, data, "fit")
    trainer.logger = logger = RunLogger(experiment.name, experiment.tracking(), run)
    with ending(trainer, logger, f"To resume: the same command with --resume {logger.run_id}"):
        with all_or_none():
            record(experiment, module, hashes, trainer, logger)
        trainer.fit(module, datamodule=data, ckpt_path=run.last_checkpoint if run else None, weights_only=True)
    return outcome_of(trainer, module, logger)


def evaluate(experiment: Experiment, source: Source, changed: bool) -> Outcome:
    """Compute the validation metrics of a trained model again, with the experiment's callbacks.

    The metrics go to the model's run. They go to a new run if the configuration or the data have changed, or if the
    model has no run.

    Args:
        experiment: The model's experiment, overrides included.
        source: The model's checkpoint.
        changed: Whether there are overrides.

    Raises:
        SpectronError: for an error that the user can mend.
    """
    join_processes(experiment)
    if len({str(path) for path in everyone(source.path)}) > 1:
        raise known_to_all(TrackingError("the processes found different checkpoints. Name the checkpoint's file"))
    with all_or_none():
        require_sources(experiment, weights=False)
        callbacks = experiment.callbacks()
    data = prepare_data(experiment)
    with all_or_none():
        module = cast(LightningModule, restore(experiment, source))
        trainer = experiment.trainer(callbacks)
        require_ready(experiment, module, callbacks)
    set_up_data(experiment, trainer, module, data, "validate")
    with all_or_none():
        hashes = fingerprint(data)
        new = changed or source.run is None or bool(changed_data(source.path, hashes))
    name, run = (f"{experiment.name}-evaluation", None) if new else (experiment.name, source.run)
    trainer.logger = logger = RunLogger(name, experiment.tracking(), run, training=new)
    with ending(trainer, logger, "To start again: the same command"):
        if new:
            with all_or_none():
                record(experiment, module, hashes, trainer, logger)
                logger.set_tags({"spectron.evaluates": str(source.path)})
        restore_counters(trainer, source.path)
        trainer.validate(module, datamodule=data, verbose=False)
        logger.finalize("success")
    return outcome_of(trainer, module, logger)


def restore_counters(trainer: Trainer, checkpoint: Path) -> None:
    """Set the steps of a trainer to those of a checkpoint, so that metrics are logged at its step.

    Raises:
        CheckpointError: if the checkpoint holds no counters of a training.
    """
    stored = read_checkpoint(checkpoint, mmap=True)
    try:
        trainer.fit_loop.load_state_dict(stored["loops"]["fit_loop"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint} holds no counters of a training (loops.fit_loop: {error!r}). Use another checkpoint",
            file=checkpoint,
        ) from error


@contextmanager
def ending(trainer: Trainer, logger: RunLogger, how_to_continue: str) -> Iterator[None]:
    """Set the status of a run that ends early, and requeue the job if SLURM announced its end.

    Raises:
        Interrupted: if the user or SLURM stopped it.
        WorkerError: if the operating system ended a worker process that reads data.
        EndedByAnother: instead of ``Interrupted``, in all processes except the first.
    """
    try:
        with naming_killed_workers(how_to_continue):
            yield
    except BaseException as stop:
        if trainer.state.status != TrainerStatus.INTERRUPTED:  # Lightning has not yet marked the run as ended
            logger.finalize("failed")
        # Lightning turns Ctrl-C into sys.exit; SIGTERM arrives as its own kind of SystemExit.
        if not isinstance(stop, KeyboardInterrupt | SystemExit):
            raise
        if rank() > 0:
            raise EndedByAnother from stop
        if signal_that_stopped(trainer) == REQUEUE_SIGNAL:
            requeue()
        raise Interrupted(f"Stopped. {how_to_continue}") from stop


def inspect_experiment(experiment: Experiment) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Build every object of an experiment without training it or recording anything.

    Returns:
        Trainable and frozen parameters of each part, and the shapes that the task reports for one training batch.

    Raises:
        SpectronError: for an error that the user can mend.
    """
    module, data = assemble(experiment)
    with naming_killed_workers("Then repeat the command"):
        batch = next(iter(data.train_dataloader()))
    with torch.inference_mode():
        shapes = module.shapes(batch) if isinstance(module, Describable) else {}
    return parameter_counts(getattr(module, "model", module)), shapes


def assemble(
    experiment: Experiment, source: Source | None = None, stage: str = "fit"
) -> tuple[LightningModule, LightningDataModule]:
    """Build every object of an experiment, and return its task in eval mode and its data, whose loaders can be read.

    Args:
        experiment: What to build.
        source: Checkpoint that fills the task; None builds it as training starts from it.
        stage: ``fit`` reads all data, ``validate`` the validation data only.

    Raises:
        SpectronError: for an error that the user can mend.
    """
    require_sources(experiment, weights=source is None)
    callbacks = experiment.callbacks()
    data = prepare_data(experiment)
    module = experiment.module() if source is None else cast(LightningModule, restore(experiment, source))
    experiment.require_monitored(module, callbacks)
    trainer = experiment.trainer(callbacks)
    require_ready(experiment, module, callbacks)
    set_up_data(experiment, trainer, module, data, stage)
    return module.eval(), data


@rank_zero_only
def record(
    experiment: Experiment, module: LightningModule, data: dict[str, str], trainer: Trainer, logger: RunLogger
) -> None:
    """Store in a run the configuration, code, packages, device and hashes of the data that produce its results."""
    counts = parameter_counts(getattr(module, "model", module))
    commit, patch = git_state()
    facts = {
        "git_commit": commit,
        "packages": package_versions(),
        "device": device_name(trainer.strategy.root_device),
        **({SLURM_JOB: job} if (job := slurm_job()) else {}),
        "parameters": {
            "trainable_share": round(trainable_share(counts)[-1], 6),
            **{name: {"trainable": trainable, "frozen": frozen} for name, (trainable, frozen) in counts.items()},
        },
        "data": data,
    }
    files = {
        "config.yaml": yaml.safe_dump(experiment.stored_config, sort_keys=False),
        FACTS: json.dumps(facts, indent=2),
    }
    if patch:
        files["diff.patch"] = patch
    for name, path in code_files(experiment.config).items():
        files[f"{CODE}/{name}"] = path.read_text(encoding="utf-8")
    rank_zero_info(f"parameters: {trainable_line(counts)}")
    logger.log_hyperparams(experiment.stored_config)
    folder = {YAML_FOLDER_TAG: str(experiment.folder)} if experiment.folder else {}
    logger.set_tags(folder | {f"spectron.{key}": value for key, value in flatten(facts).items()})
    for name, text in files.items():
        path = logger.folder / name
        write_text(path, text)
        logger.log_artifact(path, CODE if path.parent.name == CODE else "")


def outcome_of(trainer: Trainer, module: LightningModule, logger: RunLogger) -> Outcome:
    """Collect the metrics of the last validation, losses first, and the places of the run."""
    sums = getattr(module, "sums", {})
    losses = []
    for name, value in trainer.callback_metrics.items():
        if name.startswith("val/") and name not in logger.measures:
            term = sums.get(name.removeprefix("val/"))
            losses.append(MetricValue(name, float(value), int(term.count) if term else 0))
    measures = [*losses, *logger.measures.values()]
    return Outcome(logger.run_id, logger.folder, measures, logger.headlines, logger.ui_command)
