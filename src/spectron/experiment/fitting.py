"""Runs: training with everything recorded, going on where a run stopped, evaluating again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerStatus
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn

from spectron.config.building import naming_files
from spectron.config.error_location import Section
from spectron.config.user_classes import code_files
from spectron.context_length import ChecksContext
from spectron.contracts import Decoding
from spectron.errors import CheckpointError, ConfigError, Interrupted, TrackingError
from spectron.experiment.experiment import Experiment
from spectron.experiment.loading import CONFIG_KEY, YAML_FOLDER_TAG, Source, read_config, restore
from spectron.experiment.preflight import require_ready, require_sources
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
from spectron.tracking.reference_curves import without_curve
from spectron.tracking.store import RunRecord, find_run, list_runs
from spectron.weights.checkpoint_files import read_checkpoint

# What may differ when a run goes on: how long it lasts, how often it is looked at, and where it is recorded.
FREE_TO_CHANGE = (
    *(
        f"trainer.{key}"
        for key in ("max_steps", "max_time", "val_check_interval", "limit_val_batches", "num_sanity_val_steps")
    ),
    *(f"trainer.{key}" for key in ("log_every_n_steps", "enable_progress_bar", "enable_model_summary")),
    "tracking",
    "shared",
    "resolved",
)


CODE = "code"  # folder of a run that holds the user's own files as they were


@runtime_checkable
class Describable(Protocol):
    """A task that tells the shapes through its model."""

    def shapes(self, batch: Any) -> dict[str, tuple[int, ...]]:
        """Tensor shapes by name, in order."""


@dataclass
class Outcome:
    """What a run leaves behind: ``headlines`` are files worth a look, ``ui_command`` opens MLflow on the run."""

    run_id: str
    folder: Path
    measures: list[MetricValue]
    headlines: list[Path]
    ui_command: str


class KeepConfig(Callback):
    """Puts the resolved configuration into every checkpoint, so that it can build its model again."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration as plain values, which ``weights_only`` loading accepts."""
        checkpoint[CONFIG_KEY] = self.config


def fit(experiment: Experiment, resume: str | None = None) -> Outcome:
    """Train an experiment, or go on in one of its runs.

    Everything that the user may have got wrong is found before the run is opened in MLflow.

    Args:
        experiment: What to train.
        resume: A run to go on in, by id or name; "" is the experiment's newest; None starts a new one.

    Raises:
        SpectronError: for whatever a user can mend.
        Interrupted: if the user stopped it.
    """
    run, checkpoint = find_resumable(experiment, resume) if resume is not None else (None, None)
    callbacks, data = cheap_checks(experiment, weights=run is None), prepared_data(experiment)
    module = experiment.module(weights=run is None)
    experiment.require_monitored(module, callbacks)
    rank_zero_only(require_ready)(experiment, module, callbacks)
    trainer = experiment.trainer([*callbacks, KeepConfig(experiment.config)])
    set_up_data(experiment, trainer, module, data, "fit")
    logger = RunLogger(experiment.name, experiment.tracking(), run_id=run.run_id if run else None)
    trainer.logger = logger
    try:
        record(experiment, module, data, trainer, logger)
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning ends a Ctrl-C with sys.exit, and SIGTERM arrives as a SystemExit of its own.
        close(trainer, logger)
        raise Interrupted(f"Stopped. Go on with the same command and --resume {logger.run_id}") from stop
    except BaseException:
        close(trainer, logger)
        raise
    return outcome(trainer, module, logger)


def evaluate(experiment: Experiment, source: Source, changed: bool) -> Outcome:
    """Compute the validation metrics of a trained model again, with the experiment's callbacks.

    Args:
        experiment: The model's experiment, with any overrides.
        source: The model's checkpoint.
        changed: Whether there are overrides; the measures then go to a run of their own, as they do where the model has no run.

    Raises:
        SpectronError: for whatever a user can mend.
    """
    callbacks, data = cheap_checks(experiment, weights=False), prepared_data(experiment)
    module = restore(experiment, source)
    rank_zero_only(require_ready)(experiment, module, callbacks)
    trainer = experiment.trainer(callbacks)
    set_up_data(experiment, trainer, module, data, "validate")
    own_run = changed or source.run is None
    name = f"{experiment.name}-evaluation" if own_run else experiment.name
    logger = RunLogger(
        name, experiment.tracking(), run_id=None if own_run or not source.run else source.run.run_id, training=own_run
    )
    if own_run:
        record(experiment, module, data, trainer, logger)
        logger.set_tags({"spectron.evaluates": str(source.path)})
    trainer.logger = logger
    # Metrics belong to the step at which the checkpoint was written.
    trainer.fit_loop.load_state_dict(read_checkpoint(source.path, mmap=True)["loops"]["fit_loop"])
    trainer.validate(module, datamodule=data, verbose=False)
    logger.finalize("success")
    return outcome(trainer, module, logger)


def inspect_experiment(experiment: Experiment) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, ...]]]:
    """Build all of an experiment without training it or recording anything.

    Returns:
        Trainable and frozen parameters of each part, and the shapes that the task names for one training batch.

    Raises:
        SpectronError: for whatever a user can mend.
    """
    callbacks, data = cheap_checks(experiment), prepared_data(experiment)
    module = experiment.module()
    experiment.require_monitored(module, callbacks)
    rank_zero_only(require_ready)(experiment, module, callbacks)
    set_up_data(experiment, experiment.trainer(callbacks), module, data, "fit")
    batch = next(iter(data.train_dataloader()))
    module.eval()
    with torch.inference_mode():
        shapes = module.shapes(batch) if isinstance(module, Describable) else {}
    return parameter_counts(getattr(module, "model", module)), shapes


def close(trainer: Trainer, logger: RunLogger) -> None:
    """Mark a run as failed or killed where Lightning, not being in charge yet, has not done so."""
    if trainer.state.status != TrainerStatus.INTERRUPTED:
        logger.finalize("failed")


def cheap_checks(experiment: Experiment, weights: bool = True) -> list[Callback]:
    """Look at what costs little, before data are made and parts are built, which may take minutes; gives the callbacks."""
    require_sources(experiment, weights)
    return experiment.callbacks()


def prepared_data(experiment: Experiment) -> LightningDataModule:
    """Build the data module and let it make what it needs, before any part is built: a tokenizer may be trained on its text.

    Raises:
        DataError: naming the key of a file that is neither there nor made.
    """
    data = experiment.data()
    with naming_files(Section("data", experiment.config["data"]), experiment.where):
        rank_zero_only(data.prepare_data)()
    return data


def attach(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """Introduce module and data to each other, as the trainer does when it runs: data ask the module for its sample rates."""
    trainer.strategy.connect(module)
    module.trainer = trainer
    data.trainer = trainer


def set_up_data(
    experiment: Experiment, trainer: Trainer, module: LightningModule, data: LightningDataModule, stage: str
) -> None:
    """Have the data module read and check its manifests before anything is recorded.

    Raises:
        DataError: for missing or broken data, and for an utterance or a line that is too long for the language model.
    """
    attach(trainer, module, data)
    trainer.strategy.barrier("data prepared")
    with naming_files(Section("data", experiment.config["data"]), experiment.where):
        data.setup(stage)
    if isinstance(module, ChecksContext):
        decodings = [getattr(callback, "decoding", None) for callback in cast(Any, trainer).callbacks]
        module.require_fits_context(data, [decoding for decoding in decodings if isinstance(decoding, Decoding)])


def find_resumable(experiment: Experiment, reference: str) -> tuple[RunRecord, Path]:
    """The run to go on in and its last checkpoint.

    Raises:
        TrackingError: if there is no such run.
        CheckpointError: if it has no checkpoint.
        ConfigError: if its configuration differs in what makes a run what it is.
    """
    tracking = experiment.tracking()
    if reference:
        run = find_run(reference, tracking)
    else:
        runs = [
            run for run in list_runs(experiment.name, tracking) if (run.folder / "checkpoints" / "last.ckpt").is_file()
        ]
        if not runs:
            raise TrackingError(
                f"no run of `{experiment.name}` has a checkpoint to go on from. Start one, without --resume."
            )
        run = runs[0]
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise CheckpointError(
            f"run {run.run_id} has no checkpoint to go on from: {checkpoint} is missing. Leave out --resume."
        )
    require_same(read_config(checkpoint), experiment.config, run.run_id)
    for name, path in code_files(experiment.config).items():
        before = run.folder / CODE / name
        if before.is_file() and before.read_text(encoding="utf-8") != path.read_text(encoding="utf-8"):
            rank_zero_warn(
                f"{path} has changed since run {run.run_id} began, which goes on with it as it is now; before it was {before}"
            )
    return run, checkpoint


def require_same(before: dict[str, Any], now: dict[str, Any], run_id: str) -> None:
    """Refuse to go on with a configuration that differs in more than length and looking.

    Raises:
        ConfigError: listing the differences.
    """
    old, new = flatten(without_curve(before)), flatten(without_curve(now))
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not _is_free(key)]
    if changed:
        lines = "\n".join(f"  {key}: {old.get(key, 'nothing')} -> {new.get(key, 'nothing')}" for key in changed)
        raise ConfigError(
            f"the configuration differs from that of run {run_id}, which cannot go on so:\n{lines}\n"
            f"Take the old values, or start a new run without --resume."
        )


@rank_zero_only
def record(
    experiment: Experiment, module: LightningModule, data: LightningDataModule, trainer: Trainer, logger: RunLogger
) -> None:
    """Store what makes the run: configuration, code, packages, device, data."""
    counts = parameter_counts(getattr(module, "model", module))
    commit, patch = git_state()
    facts = {
        "git_commit": commit,
        "packages": package_versions(),
        "device": device_name(trainer.strategy.root_device),
        "parameters": {
            "trainable_share": round(trainable_share(counts)[-1], 6),
            **{name: {"trainable": trainable, "frozen": frozen} for name, (trainable, frozen) in counts.items()},
        },
        "data": fingerprint(data),
    }
    rank_zero_info(f"parameters: {trainable_line(counts)}")
    logger.log_hyperparams(experiment.config)
    folder = {YAML_FOLDER_TAG: str(experiment.folder)} if experiment.folder else {}
    logger.set_tags(folder | {f"spectron.{key}": value for key, value in flatten(facts).items()})
    files = {
        "config.yaml": yaml.safe_dump(experiment.config, sort_keys=False),
        "facts.json": json.dumps(facts, indent=2),
    }
    files |= {"diff.patch": patch} if patch else {}
    files |= {
        f"{CODE}/{name}": path.read_text(encoding="utf-8") for name, path in code_files(experiment.config).items()
    }
    for name, text in files.items():
        path = logger.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        logger.log_artifact(path, CODE if path.parent.name == CODE else "")


def outcome(trainer: Trainer, module: LightningModule, logger: RunLogger) -> Outcome:
    """The measures of the last validation, losses first."""
    sums = getattr(module, "sums", {})
    measures = []
    for name, value in trainer.callback_metrics.items():
        if name.startswith("val/") and name not in logger.measures:
            term = sums.get(name.removeprefix("val/"))
            measures.append(MetricValue(name, float(value), int(term.count) if term else 0))
    return Outcome(
        logger.run_id, logger.folder, [*measures, *logger.measures.values()], logger.headlines, logger.ui_command
    )


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(free + ".") for free in FREE_TO_CHANGE)
