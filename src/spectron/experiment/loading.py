"""Trained models by reference: a bundled model's name, a checkpoint, a run, an export. Imports no trainer unless a task
needs one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from spectron.config.composition import STORED_NAME, Composition, compose, stored_composition
from spectron.config.recipes import RECIPES
from spectron.config.user_classes import add_import_folders
from spectron.contracts import SpokenLanguageModel
from spectron.errors import CheckpointError, TrackingError, nearest
from spectron.inference.model_config import MODEL_OF_TASK, ModelConfig, model_of
from spectron.inference.speaker import Speaker
from spectron.tracking.store import RunRecord, TrackingSettings, find_run
from spectron.weights.checkpoint_files import read_checkpoint, state_of
from spectron.weights.state_dicts import require_cover

if TYPE_CHECKING:
    from lightning import LightningModule

    from spectron.experiment.experiment import Experiment

log = logging.getLogger(__name__)

CONFIG_KEY = "experiment_config"
YAML_FOLDER_TAG = "spectron.yaml_folder"
# Exported models that come with the package, by name.
BUNDLED = {"mini": RECIPES / "mini" / "weights" / "spectron"}


@dataclass
class Source:
    """The origin of a model: a checkpoint file (with its run, if known) or an export's ``config.yaml``."""

    path: Path
    run: RunRecord | None = None

    @property
    def is_export(self) -> bool:
        """True for an exported model."""
        return self.path.suffix == ".yaml"


def load(
    reference: str | Path,
    device: str | torch.device | None = None,
    overrides: Sequence[str] = (),
    trust: bool = False,
) -> Speaker:
    """Load a spoken language model for inference.

    >>> import spectron
    >>> model = spectron.load("mini")
    >>> answer = model.continue_speech("question.wav")  # doctest: +SKIP
    >>> answer.save("answer.wav")  # doctest: +SKIP

    Args:
        reference: The name of a bundled model (``mini``), the folder of an export or of a run, a checkpoint file, a
            run's id or name, or an experiment's name (its newest run).
        device: Such as ``cpu`` or ``cuda:1``; the CPU by default.
        overrides: Changes of the configuration, ``key=value``, such as the new place of a file that has moved.
        trust: Whether Python code that the checkpoint or export names may run.

    Raises:
        UntrustedCodeError: if it names code that belongs to no installed package, and ``trust`` is False.
        CheckpointError: if there is no such file, it does not cover its model, or the model does not continue speech.
        TrackingError: if there is no such run.
        ConfigError: if this version does not accept the model's configuration.
    """
    return load_speaker(find_source(str(reference)), overrides, trust).to(device or "cpu")


def load_speaker(source: Source, overrides: Sequence[str] = (), trust: bool = False) -> Speaker:
    """Load the model of a source for inference, on the CPU.

    Raises:
        CheckpointError: if the checkpoint does not cover its model, or the model does not continue speech.
        ConfigError: if this version does not accept the model's configuration.
    """
    built = restore(model_config(source, overrides, trust), source)
    model = model_of(built)
    if not isinstance(model, SpokenLanguageModel):
        raise CheckpointError(
            f"{source.path}: this is a {type(built).__name__}, which cannot continue speech. "
            "Give a run of a SpectronModule."
        )
    return Speaker(model, source.path)


def find_source(reference: str, tracking: TrackingSettings | None = None) -> Source:
    """Find the checkpoint or export that a reference names.

    Args:
        reference: The name of a bundled model, a checkpoint file, a run's or an export's folder, a run's id or
            name, or an experiment's name. The kinds are tried in this order; ``./mini`` is a folder, ``mini`` the
            bundled model.
        tracking: Store and folder of the runs.

    Raises:
        CheckpointError: if the file is missing, or the folder or run holds no checkpoint.
        TrackingError: if it names neither a file nor a run.
    """
    path = BUNDLED.get(reference, Path(reference))
    if path.is_file():
        return Source(path)
    if path.is_dir():
        return Source(_checkpoint_in(path))
    if path.suffix in (".ckpt", ".yaml") or reference.startswith((".", "/", "~")):
        raise CheckpointError(
            f"there is no file {reference}. Give a checkpoint, a run's id, or an exported folder.", file=reference
        )
    try:
        run = find_run(reference, tracking)
    except TrackingError as error:
        near = nearest(reference.lower(), BUNDLED)
        raise TrackingError(f"{error} The bundled model is called {near}.") if near else error from None
    return Source(_checkpoint_in(run.folder), run)


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration that a checkpoint was trained with.

    Raises:
        CheckpointError: if it is unreadable or holds none.
    """
    config = read_checkpoint(path, mmap=True).get(CONFIG_KEY)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no configuration of an experiment: it was not written by `spectron fit`.")
    return config


def read_composition(source: Source, overrides: Sequence[str] = (), trust: bool = False) -> Composition:
    """Read the configuration of a checkpoint or an export.

    Both may be a stranger's. If they are trusted, classes are searched for in the current folder, in an export's
    folder, and in that of the YAML if a run is named. The tracking of a checkpoint is left out: whoever evaluates it
    decides where results go.

    Raises:
        CheckpointError: if the checkpoint is unreadable or holds no configuration.
        ConfigError: if an override is malformed.
    """
    stored = not source.is_export or source.path.name == STORED_NAME  # any other YAML is the user's own
    if trust or not stored:
        recorded = source.run.tags.get(YAML_FOLDER_TAG) if source.run else None
        beside = source.path.absolute().parent if source.is_export else recorded
        add_import_folders([Path.cwd(), *([Path(beside)] if beside else [])])
    if source.is_export:
        return compose(source.path, overrides, stored=stored, trust=trust)
    values = {key: value for key, value in read_config(source.path).items() if key != "tracking"}
    return stored_composition(values, source.path, overrides, trust)


def model_config(source: Source, overrides: Sequence[str] = (), trust: bool = False) -> ModelConfig:
    """Return the checked configuration of a source's model, without its trainer if the task is one of the package.

    Raises:
        CheckpointError: if the checkpoint is unreadable or holds no configuration.
        ConfigError: if this version does not accept the configuration.
    """
    composition = read_composition(source, overrides, trust)
    task = composition.values.get("task")
    if isinstance(task, str) and task in MODEL_OF_TASK:
        return ModelConfig(composition)
    from spectron.experiment.experiment import Experiment  # a user's task has to be imported, and Lightning with it

    return Experiment(composition, model_only=True)


def load_experiment(
    source: Source, overrides: Sequence[str] = (), model_only: bool = False, trust: bool = False
) -> Experiment:
    """Return the experiment of a checkpoint or an export, checked again.

    Args:
        source: The checkpoint or export.
        overrides: Changes, ``key=value``.
        model_only: Whether only the model is wanted; an export holds no more.
        trust: Whether Python code that the checkpoint or export names may run.

    Raises:
        CheckpointError: if the checkpoint is unreadable or holds no configuration.
        ConfigError: if this version of the code does not accept its configuration.
    """
    from spectron.experiment.experiment import Experiment

    return Experiment(read_composition(source, overrides, trust), model_only or source.is_export)


def load_module(
    reference: str | Source,
    tracking: TrackingSettings | None = None,
    overrides: Sequence[str] = (),
    trust: bool = False,
) -> LightningModule:
    """Load the trained task, in eval mode on the CPU.

    Args:
        reference: A checkpoint, a run (id, name, folder), an exported folder, or a bundled model's name.
        tracking: Store and folder of the runs.
        overrides: Changes, ``key=value``, such as the new place of a file that has moved.
        trust: Whether Python code that the checkpoint or export names may run.

    Raises:
        CheckpointError: if the checkpoint does not cover the model, or has parts left over.
        TrackingError: if there is no such run.
    """
    source = reference if isinstance(reference, Source) else find_source(reference, tracking)
    return cast("LightningModule", restore(load_experiment(source, overrides, model_only=True, trust=trust), source))


def restore(config: ModelConfig, source: Source) -> nn.Module:
    """Build what a configuration describes, a model or a task, and fill it from a checkpoint, in eval mode on the CPU.

    The parts of an export are filled while they are built.

    Raises:
        CheckpointError: if the checkpoint does not cover the model, or has parts left over.
    """
    built = config.build(weights=source.is_export)
    if source.is_export:
        _warn_of_untrained(config, built, source.path)
    else:
        stored = state_of(read_checkpoint(source.path), source.path)
        tensors = {name.removeprefix(config.state_prefix): tensor for name, tensor in stored.items()}
        require_cover(built.state_dict(), tensors, str(source.path))
        built.load_state_dict(tensors)
    return built.eval()


def _warn_of_untrained(config: ModelConfig, built: nn.Module, path: Path) -> None:
    """Name the parts without weights: the YAML of an experiment, which is still to be trained, reads like an export."""
    untrained = []
    for name, part in model_of(built).named_children():
        spec = config.config["model"].get(name)
        has_source = isinstance(spec, dict) and bool(spec.get("init_args", {}).get("source"))
        if any(True for _ in part.parameters()) and name not in config.config["weights"] and not has_source:
            untrained.append(name)
    if untrained:
        log.warning("%s gives no weights for %s: they have learnt nothing yet", path, ", ".join(untrained))


def _checkpoint_in(folder: Path) -> Path:
    """Return the newest checkpoint of a run's folder, or the configuration of an export."""
    for name in ("checkpoints/last.ckpt", "last.ckpt", "config.yaml"):
        if (folder / name).is_file() and not (name == "config.yaml" and (folder / "checkpoints").is_dir()):
            return folder / name
    raise CheckpointError(
        f"{folder} holds neither a checkpoint nor an exported model. A run that was stopped early has none."
    )
