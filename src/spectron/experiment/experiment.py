"""An experiment: a checked configuration, and the objects built from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from lightning import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from spectron.config.building import parser_of
from spectron.config.checking import Parameter, PartHint, parameters
from spectron.config.composition import Composition, compose
from spectron.errors import ConfigError, did_you_mean
from spectron.experiment.resolved import resolved
from spectron.inference.model_config import MODEL_SECTIONS, ModelConfig, add_import_folders, model_of
from spectron.tracking.measure import flatten
from spectron.tracking.store import TrackingSettings
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings, SeedEachStep
from spectron.training.progress import Progress

# What the platform decides itself: where a run is kept, and what makes it resumable.
OWNED_TRAINER_KEYS = frozenset(
    (
        "logger",
        "callbacks",
        "fast_dev_run",
        "enable_checkpointing",
        "default_root_dir",
        "plugins",
        "barebones",
        "model_registry",
    )
)
# Data are one endless stream that shares itself among ranks; validation is counted in steps of it.
TRAINER_DEFAULTS = {
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}

SECTIONS = {
    "name": Parameter(str),
    **MODEL_SECTIONS,
    "data": Parameter(LightningDataModule),
    "trainer": Parameter(dict[str, Any], {}),
    "callbacks": Parameter(dict[str, Callback], {}),
    "checkpoints": Parameter(CheckpointSettings, {}),
    "tracking": Parameter(TrackingSettings, {}),
    "shared": Parameter(dict[str, Any], {}),
    "resolved": Parameter(dict[str, Any], {}),
}


class Experiment(ModelConfig):
    """A configuration whose every key, type and class has been checked; nothing is built until asked for.

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
        super().__init__(composition, MODEL_SECTIONS if model_only else SECTIONS)
        self.task = self.target
        self._resolved_before = self.config.get("resolved", {})
        self.config["resolved"] = {}
        if not model_only:
            self._take_surroundings()

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str] = (), model_only: bool = False) -> Experiment:
        """The experiment of a YAML file with ``key=value`` overrides.

        Classes are also found in the current folder and in the YAML's own, behind everything installed.

        Raises:
            ConfigError: for whatever is wrong with the configuration.
        """
        add_import_folders([Path.cwd(), path.absolute().parent])
        return cls(compose(path, overrides), model_only)

    @property
    def name(self) -> str:
        """The experiment's name in MLflow."""
        return self.config["name"]

    def part_class(self, name: str) -> str:
        """The class path of one of the model's parts.

        Raises:
            ConfigError: if the task has no such part.
        """
        parts = self.part_classes
        if name not in parts:
            raise ConfigError(
                f"model.{name}: this experiment's {self.task.__name__} has no such part. {did_you_mean(name, parts)}"
            )
        return parts[name]

    def module(self, weights: bool = True) -> LightningModule:
        """Build the task, the same for the same seed, and load the parts' ``weights``.

        Raises:
            ConfigError: where a part refuses its values, or ``weights`` names a part that is not there.
            CheckpointError: if a file of weights does not cover its part.
        """
        return cast(LightningModule, self.build(weights))

    def build(self, weights: bool = True) -> nn.Module:
        """Build the task as ``ModelConfig.build`` does, with the seed for the workers of its data, and describe its parts."""
        seed_everything(self.config["seed"], workers=True, verbose=False)
        module = super().build(weights)
        self._resolve(dict(model_of(module).named_children()))
        return module

    def data(self) -> LightningDataModule:
        """Build the data module."""
        return self._build("data")

    def callbacks(self) -> list[Callback]:
        """Build the callbacks, in the order of the configuration."""
        return list(self._build("callbacks").values())

    def tracking(self) -> TrackingSettings:
        """Where runs are kept."""
        return self._build("tracking")

    def trainer(self, callbacks: Iterable[Callback] = ()) -> Trainer:
        """A trainer without a logger, with these callbacks and those that make a run resumable.

        Raises:
            ConfigError: where Lightning refuses its arguments.
        """
        settings = self._build("checkpoints")
        arguments = self._build("trainer", Trainer).as_dict()
        progress = [] if arguments["enable_progress_bar"] is False else [Progress()]
        try:
            return Trainer(
                **arguments,
                logger=False,
                enable_checkpointing=False,
                plugins=[AtomicCheckpointIO()],
                # Checkpoints come last: they save what all the others have done.
                callbacks=[SeedEachStep(self.config["seed"]), *progress, *callbacks, Checkpoints(settings)],
            )
        except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"trainer: {error} (in {self.where(('trainer',))})") from error

    def require_monitored(self, module: LightningModule, callbacks: Iterable[Callback]) -> None:
        """Refuse a ``monitor`` that nothing logs.

        Raises:
            ConfigError: naming the nearest metric.
        """
        monitor = self.config["checkpoints"]["monitor"]
        names: set[str] = set()
        for source in (module, *callbacks):
            names |= source.measure_names() if hasattr(source, "measure_names") else set()
        if monitor is not None and names and monitor not in names:
            path = ("checkpoints", "monitor")
            raise ConfigError(
                f"checkpoints.monitor: nothing logs `{monitor}`. {did_you_mean(monitor, names)} (in {self.where(path)})"
            )

    def _resolve(self, parts: dict[str, nn.Module]) -> None:
        """Write down what the parts turned out to be; a configuration that has run before may say what they once were."""
        self.config["resolved"] = found = resolved(parts, self.config["model"])
        was, now = flatten(self._resolved_before), flatten(found)
        for key in sorted(was.keys() & now.keys()):
            if was[key] != now[key]:
                rank_zero_info(
                    f"resolved.{key}: {was[key]} in {self.where(('resolved', *key.split('.')))}, {now[key]} now"
                )

    def _class_of(self, task: str) -> type:
        """Import the task."""
        return self.checker.kind(task, [PartHint(LightningModule)], ("task",))[0]

    def _arguments(self, task: str, model: dict[str, Any]) -> dict[str, Any]:
        """Return ``model`` as it is: all of it are arguments of the task."""
        return model

    def _take_surroundings(self) -> None:
        """Check the trainer, make the parsers of all that surrounds the model, and complete its values."""
        accepted = {key: value for key, value in parameters(Trainer).items() if key not in OWNED_TRAINER_KEYS}
        for key in OWNED_TRAINER_KEYS & set(self.config["trainer"]):
            raise self.checker.error(
                ("trainer", key), "the platform sets this itself. Remove the key; see callbacks, checkpoints, tracking"
            )
        self.checker.arguments(self.config["trainer"], accepted, ("trainer",), "Trainer")
        self.config["trainer"] = TRAINER_DEFAULTS | self.config["trainer"]
        self._parsers["trainer"] = parser_of(
            "trainer", Trainer, arguments_of=True, left_out=OWNED_TRAINER_KEYS, built=False
        )
        for name in ("data", "callbacks", "checkpoints", "tracking"):
            self._parsers[name] = parser_of(name, SECTIONS[name].hint)
        for name in ("trainer", "data", "callbacks", "checkpoints", "tracking"):
            self._complete(name)


def _require_more_than_a_model(composition: Composition) -> None:
    """Refuse an export's configuration where a whole experiment is needed.

    Raises:
        ConfigError: with what can be done with an export.
    """
    values, file = composition.values, composition.files[-1] if composition.files else Path()
    if (
        file.name != "config.yaml"
        or {"name", "data"} & values.keys()
        or not {"task", "model", "weights"} <= values.keys()
    ):
        return
    raise ConfigError(
        f"{file} describes an exported model, not an experiment: it has no data, no trainer and no name. Speak with it, "
        f"`spectron continue {file.parent} prompt.wav`, or start an experiment from it: in a YAML of your own, `extends: {file}` takes the "
        "whole model, and a part's `source` or `weights` takes that part (docs/configuration.md, Start another experiment from an export)."
    )
