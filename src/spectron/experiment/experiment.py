"""An experiment: a checked configuration, and the objects that are built from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from spectron.config.checking import UNCHECKED, Checker
from spectron.config.classes import Parameter, PartHint
from spectron.config.composition import Composition, compose
from spectron.config.user_classes import add_import_folders
from spectron.errors import ConfigError, did_you_mean
from spectron.experiment.resolved import resolved
from spectron.experiment.trainer_keys import DEFAULTS, TRAINER
from spectron.inference.model_config import MODEL_SECTIONS, ModelConfig, model_of
from spectron.tracking.measure import flatten
from spectron.tracking.store import TrackingSettings, file_name
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings, SeedEachStep
from spectron.training.lightning_internals import find_unused_parameters
from spectron.training.progress import Progress

SECTIONS = {
    "name": Parameter(str),
    **MODEL_SECTIONS,
    "data": Parameter(LightningDataModule),
    "trainer": Parameter(TRAINER, {}),
    "callbacks": Parameter(dict[str, Callback], {}),
    "checkpoints": Parameter(CheckpointSettings, {}),
    "tracking": Parameter(TrackingSettings, {}),
    "shared": Parameter(UNCHECKED, {}),  # values that other keys refer to
    "resolved": Parameter(UNCHECKED, {}),  # what an earlier run derived; every run derives it again
}


class Experiment(ModelConfig):
    """A configuration whose every key, type and class has been checked; objects are built on request.

    Args:
        composition: The composed configuration.
        model_only: Whether it only has to describe a model, as an export does.

    Attributes:
        task: The LightningModule class.

    Raises:
        ConfigError: for any unknown key, wrong type, or class of the wrong kind.
    """

    state_prefix = ""  # ``build`` makes the task itself

    def __init__(self, composition: Composition, model_only: bool = False) -> None:
        if not model_only:
            _require_more_than_a_model(composition)
            trainer = composition.values.get("trainer") or {}
            if isinstance(trainer, dict):
                values = composition.values | {"trainer": DEFAULTS | trainer}
                composition = replace(composition, values=values)
        super().__init__(composition, MODEL_SECTIONS if model_only else SECTIONS)
        self.task = self.target
        self._resolved_before = self.config.get("resolved", {})
        self.config["resolved"] = {}

    @classmethod
    def read(
        cls, path: Path, overrides: Sequence[str] = (), model_only: bool = False, trust: bool = False
    ) -> Experiment:
        """Return the experiment of a YAML file with ``key=value`` overrides.

        Classes are imported from installed packages, then from the current folder and from the folder of the YAML. Code
        that an export brings, which the YAML extends, runs only with ``trust``.

        Raises:
            ConfigError: if anything is wrong with the configuration.
        """
        add_import_folders([Path.cwd(), path.absolute().parent])
        return cls(compose(path, overrides, trust=trust), model_only)

    @property
    def name(self) -> str:
        """Name of the experiment in MLflow."""
        return self.config["name"]

    def part_class(self, name: str) -> str:
        """Return the class path of one part of the model.

        Raises:
            ConfigError: if the task has no such part.
        """
        parts = self.part_classes
        if name not in parts:
            raise ConfigError(
                f"{self.task.__name__} has no such part. {did_you_mean(name, parts)}",
                key=f"model.{name}",
                allowed=parts,
            )
        return parts[name]

    def module(self, weights: bool = True) -> LightningModule:
        """Build the task, always the same for one seed, and load the ``weights`` of its parts.

        Raises:
            ConfigError: if a part refuses its values, or ``weights`` names a part that does not exist.
            CheckpointError: if a weights file does not cover its part.
        """
        return cast(LightningModule, self.build(weights))

    def build(self, weights: bool = True) -> nn.Module:
        """Build the task like ``ModelConfig.build``, seed its data workers too, and describe its parts."""
        seed_everything(self.config["seed"], workers=True, verbose=False)
        module = super().build(weights)
        self._resolve(dict(model_of(module).named_children()))
        return module

    def data(self) -> LightningDataModule:
        """Build the data module."""
        return self.document.build("data")

    def callbacks(self) -> list[Callback]:
        """Build the callbacks, in the order of the configuration."""
        return list(self.document.build("callbacks").values())

    def tracking(self) -> TrackingSettings:
        """Build the settings that state where runs are stored."""
        return self.document.build("tracking")

    def trainer(self, callbacks: Iterable[Callback] = ()) -> Trainer:
        """Build a trainer without a logger, with these callbacks and those that make a run resumable.

        Raises:
            ConfigError: if Lightning refuses its arguments, or several processes cannot train with them.
        """
        settings = self.document.build("checkpoints")
        arguments = self.document.arguments("trainer")
        progress = [] if arguments.get("enable_progress_bar") is False else [Progress()]
        try:
            trainer = Trainer(
                **arguments,
                logger=False,
                enable_checkpointing=False,
                # Under SLURM, Lightning starts from a file of this folder, whichever run wrote it: nothing writes here.
                default_root_dir=self.tracking().runs_folder / file_name(self.name),
                plugins=[AtomicCheckpointIO()],
                # Checkpoints come last, because they save the state of all other callbacks.
                callbacks=[SeedEachStep(self.config["seed"]), *progress, *callbacks, Checkpoints(settings)],
            )
        except (MisconfigurationException, ArithmeticError, ValueError, TypeError, RuntimeError) as error:
            raise self.document.error(("trainer",), str(error)) from error
        self._require_common_decisions(trainer, arguments)
        return trainer

    def _require_common_decisions(self, trainer: Trainer, arguments: dict[str, Any]) -> None:
        """Refuse settings with which several processes would decide differently.

        Raises:
            ConfigError: naming the key and what is allowed.
        """
        strategy, key, allowed = trainer.strategy, ("trainer", "strategy"), ("auto", "ddp")
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            message = f"checkpoints need a process with the whole model, which {type(strategy).__name__} does not have"
            raise self.document.error(key, f"{message}. Choose auto or ddp", allowed)
        if isinstance(strategy.launcher, _MultiProcessingLauncher):
            message = "processes are started by a command and not from within one, as this strategy does"
            raise self.document.error(key, f"{message}. Choose ddp, or trainer.devices=1 in a notebook", allowed)
        if not find_unused_parameters(trainer):
            message = "a step may leave out a part of the model, for whose gradients the processes would wait forever"
            raise self.document.error(key, f"{message}. Choose ddp", allowed)
        interval = arguments.get("val_check_interval")
        processes = trainer.num_devices * trainer.num_nodes
        if processes > 1 and not isinstance(interval, int | float | None):
            message = f"{interval} is a time, and the clocks of several processes differ. Give a number of batches"
            raise self.document.error(("trainer", "val_check_interval"), message)

    def require_monitored(self, module: LightningModule, callbacks: Iterable[Callback]) -> None:
        """Refuse a ``monitor`` that nothing logs.

        Raises:
            ConfigError: with the nearest metric.
        """
        monitor = self.config["checkpoints"]["monitor"]
        names: set[str] = set()
        for source in (module, *callbacks):
            names |= source.measure_names() if hasattr(source, "measure_names") else set()
        if monitor is not None and names and monitor not in names:
            message = f"nothing logs `{monitor}`. {did_you_mean(monitor, names)}"
            raise self.document.error(("checkpoints", "monitor"), message, names)

    def _resolve(self, parts: dict[str, nn.Module]) -> None:
        """Store the values derived from the parts, and report those that differ from the values of an earlier run."""
        self.config["resolved"] = found = resolved(parts, self.config["model"])
        was, now = flatten(self._resolved_before), flatten(found)
        for key in sorted(was.keys() & now.keys()):
            if was[key] != now[key]:
                origin = self.document.where(("resolved", *key.split(".")))
                rank_zero_info(f"resolved.{key}: {was[key]} in {origin}, {now[key]} now")

    def _class_of(self, task: str, composition: Composition) -> type:
        """Import the task."""
        return Checker(composition).kind(task, [PartHint(LightningModule)], ("task",))[0]

    def _arguments(self, task: str, model: Any) -> Any:
        """Return ``model`` as it is: all of it are arguments of the task."""
        return model


def _require_more_than_a_model(composition: Composition) -> None:
    """Refuse the configuration of an export if a whole experiment is needed.

    Raises:
        ConfigError: with what to do with an export.
    """
    values, file = composition.values, composition.files[-1] if composition.files else Path()
    if (
        file.name != "config.yaml"
        or {"name", "data"} & values.keys()
        or not {"task", "model", "weights"} <= values.keys()
    ):
        return
    raise ConfigError(
        f"{file} describes an exported model, not an experiment: it has no data, no trainer and no name. "
        f"Generate speech with it (`spectron continue {file.parent} prompt.wav`), or start an experiment from it: in "
        f"your own YAML, `extends: {file}` takes the whole model, and a part's `source` or `weights` takes that part "
        "(docs/configuration.md, Start another experiment from an export).",
        file=file,
    )
