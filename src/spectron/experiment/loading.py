"""A model again, from a checkpoint, a run or an export."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import LightningModule

from spectron.config.composition import Composition, override
from spectron.errors import CheckpointError, TrackingError, nearest
from spectron.experiment.experiment import Experiment, add_import_folders
from spectron.tracking.store import RunRecord, TrackingSettings, find_run
from spectron.weights.checkpoint_files import read_checkpoint
from spectron.weights.state_dicts import require_cover

log = logging.getLogger(__name__)

CONFIG_KEY = "experiment_config"
YAML_FOLDER_TAG = "spectron.yaml_folder"
# Models that come with the project, by the name of their world; beside the code, which is installed where it lies.
EMBEDDED = {"mini": Path(__file__).parents[1] / "recipes" / "mini" / "weights" / "spectron"}


@dataclass
class Source:
    """Where a model comes from: a checkpoint file (with its run, where that is known) or an export's ``config.yaml``."""

    path: Path
    run: RunRecord | None = None

    @property
    def is_export(self) -> bool:
        """Whether this is an exported model."""
        return self.path.suffix == ".yaml"


def find_source(reference: str, tracking: TrackingSettings | None = None) -> Source:
    """What a checkpoint file, a run's folder, an export's folder, a run's id or name, or the name of an embedded model stands for.

    Raises:
        CheckpointError: if the file is missing, or the folder or run holds no checkpoint.
        TrackingError: if it names neither a file nor a run.
    """
    path = EMBEDDED.get(reference, Path(reference))
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
        near = nearest(reference.lower(), EMBEDDED)
        raise TrackingError(f"{error} {near} is the model that comes with the project.") if near else error from None
    return Source(_checkpoint_in(run.folder), run)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that a checkpoint was trained with.

    Raises:
        CheckpointError: if it is unreadable or holds none.
    """
    config = read_checkpoint(path, mmap=True).get(CONFIG_KEY)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds no configuration of an experiment: it was not written by `spectron fit`.")
    return config


def load_experiment(source: Source, overrides: Sequence[str] = (), model_only: bool = False) -> Experiment:
    """The experiment of a checkpoint or an export, checked again.

    A user's own classes are looked for in the current folder, and in the YAML's where a run is named.

    Args:
        source: The checkpoint or export.
        overrides: Changes, ``key=value``.
        model_only: Whether only the model is wanted; an export holds no more.

    Raises:
        CheckpointError: if the checkpoint is unreadable or holds no configuration.
        ConfigError: if this version of the code does not accept its configuration.
    """
    if source.is_export:
        return Experiment.read(source.path, overrides, model_only=True)
    # A folder is only taken from the user's own record of the run: a checkpoint may be a stranger's.
    recorded = source.run.tags.get(YAML_FOLDER_TAG) if source.run else None
    add_import_folders([Path.cwd(), *([Path(recorded)] if recorded else [])])
    composition = override(Composition(read_config(source.path), files=[source.path]), overrides)
    return Experiment(composition, model_only)


def load_module(
    reference: str | Source, tracking: TrackingSettings | None = None, overrides: Sequence[str] = ()
) -> LightningModule:
    """The trained task, in eval mode on the CPU.

    Args:
        reference: A checkpoint, a run (id, name, folder), or an exported folder.
        tracking: Where runs are looked for.
        overrides: Changes, ``key=value``, such as the new place of a file that has moved.

    Raises:
        CheckpointError: if the checkpoint does not cover the model, or has parts left over.
        TrackingError: if there is no such run.
    """
    source = reference if isinstance(reference, Source) else find_source(reference, tracking)
    return restore(load_experiment(source, overrides, model_only=True), source)


def restore(experiment: Experiment, source: Source) -> LightningModule:
    """Build an experiment's task and fill it from a checkpoint; an export's parts are filled as they are built."""
    module = experiment.module(weights=source.is_export)
    if source.is_export:
        _warn_of_untrained(experiment, module, source.path)
    else:
        tensors = read_checkpoint(source.path).get("state_dict", {})
        require_cover(module.state_dict(), tensors, str(source.path))
        module.load_state_dict(tensors)
    return module.eval()


def _warn_of_untrained(experiment: Experiment, module: LightningModule, path: Path) -> None:
    """Say which parts start from nothing: a recipe, which is to be trained, reads like an export."""
    untrained = []
    for name, part in getattr(module, "model", module).named_children():
        spec = experiment.config["model"].get(name)
        has_source = isinstance(spec, dict) and bool(spec.get("init_args", {}).get("source"))
        if any(True for _ in part.parameters()) and name not in experiment.config["weights"] and not has_source:
            untrained.append(name)
    if untrained:
        log.warning("%s gives no weights for %s: they have learnt nothing yet", path, ", ".join(untrained))


def _checkpoint_in(folder: Path) -> Path:
    """The newest checkpoint of a run's folder, or the configuration of an export."""
    for name in ("checkpoints/last.ckpt", "last.ckpt", "config.yaml"):
        if (folder / name).is_file() and not (name == "config.yaml" and (folder / "checkpoints").is_dir()):
            return folder / name
    raise CheckpointError(
        f"{folder} holds neither a checkpoint nor an exported model. A run that was stopped early has none."
    )
