"""A checked configuration of a model, and the model that it describes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from spectron.config.building import build, complete, parser_of
from spectron.config.checking import Checker, Parameter, parameters
from spectron.config.composition import Composition
from spectron.config.error_location import Section, is_users_own
from spectron.conformance import malformed
from spectron.errors import CheckpointError, ConfigError, did_you_mean
from spectron.model import SpectronModel
from spectron.randomness import seed_everything
from spectron.weights.state_dicts import load_part

MODEL_SECTIONS: dict[str, Parameter] = {
    "seed": Parameter(int, 0),
    "task": Parameter(str),
    "model": Parameter(dict[str, Any], {}),
    "weights": Parameter(dict[str, str], {}),
}
# Sections whose content depends on a class, or that may hold anything: ``shared`` holds whatever other keys refer to,
# and ``resolved`` what the platform detected in an earlier run.
FREE = ("model", "trainer", "shared", "resolved")


@dataclass(frozen=True)
class TrainedModel:
    """The model that a task trains. The keys of a task are the arguments of its model and ``training_keys``."""

    model: type[nn.Module]
    training_keys: frozenset[str]


# Looked up instead of importing the task: a task imports Lightning, which takes longer than loading and running the
# model.
MODEL_OF_TASK = {
    "spectron.training.SpectronModule": TrainedModel(SpectronModel, frozenset(("loss_weights", "optimisation")))
}


class ModelConfig:
    """A configuration whose keys, types and classes have been checked; ``build`` makes the model.

    The configuration of an experiment or of an export describes a task. Here only the task's model is built, so only
    tasks in ``MODEL_OF_TASK`` are accepted. The task's other keys, such as ``optimisation``, are neither used nor
    checked.

    Args:
        composition: The composed configuration.
        sections: Accepted top-level keys. Other keys are errors, except for the default sections, which ignore them.

    Attributes:
        config: The configuration as plain values, all defaults written out.
        target: The class that ``build`` makes.
        folder: The YAML's folder, in which its classes may lie; None for a checkpoint's configuration.

    Raises:
        ConfigError: for any unknown key, wrong type, or class of the wrong kind.
    """

    # A checkpoint holds a task, which keeps its model as the attribute ``model``.
    state_prefix = "model."

    def __init__(self, composition: Composition, sections: Mapping[str, Parameter] = MODEL_SECTIONS) -> None:
        self.where = composition.where
        # A checkpoint's configuration comes from no YAML and does not name the folder of its classes.
        self.folder = next((file.parent for file in composition.files[::-1] if file.suffix in (".yaml", ".yml")), None)
        self.checker = Checker(self.where)
        # An empty section, "trainer:" and nothing after it, means the same as none.
        values = {key: value for key, value in composition.values.items() if value is not None}
        if sections is MODEL_SECTIONS:
            values = {key: value for key, value in values.items() if key in sections}
        checked = {key: value for key, value in values.items() if key not in FREE}
        self.checker.arguments(checked, sections, (), "an experiment", known=set(values))
        self.target = self._class_of(values["task"])
        self.config = {key: values.get(key, section.default) for key, section in sections.items()}
        self.config["model"] = self._arguments(values["task"], self.config["model"])
        self.checker.arguments(self.config["model"], parameters(self.target), ("model",), self.target.__name__)
        self._parsers = {"model": parser_of("model", self.target, arguments_of=True)}
        self._complete("model")

    @property
    def part_classes(self) -> dict[str, str]:
        """The class paths of the model's parts."""
        return {
            key: value["class_path"]
            for key, value in self.config["model"].items()
            if isinstance(value, dict) and "class_path" in value
        }

    def build(self, weights: bool = True) -> nn.Module:
        """Build the model, the same for the same seed, and load the parts' ``weights``.

        Raises:
            ConfigError: if a part refuses its values, or ``weights`` names a part that is not there.
            CheckpointError: if a file of weights does not cover its part.
        """
        seed_everything(self.config["seed"])
        built: nn.Module = self._build("model", self.target)
        parts = dict(model_of(built).named_children())
        for name in self.config["weights"] if weights else ():
            if name not in parts:
                raise ConfigError(
                    f"the model has no such part. {did_you_mean(name, parts)}",
                    key=f"weights.{name}",
                    origin=self.where(("weights", name)),
                    allowed=parts,
                )
            self.load_weights(parts[name], name)
        for name, part in parts.items():
            if is_users_own(type(part)) and (problem := malformed(part)):
                raise ConfigError(
                    f"{type(part).__name__}: {problem}",
                    key=f"model.{name}",
                    origin=self.where(("model", name, "class_path")),
                )
        return built

    def load_weights(self, part: nn.Module, name: str) -> None:
        """Fill a part from its file of weights, if it has one.

        Raises:
            CheckpointError: if the file does not cover the part.
        """
        path = self.config["weights"].get(name)
        if path is None:
            return
        try:
            load_part(part, Path(path), name)
        except CheckpointError as error:
            raise CheckpointError(f"{error} (in {self.where(('weights', name))})") from error

    def _class_of(self, task: str) -> type:
        """Return the class that the section ``model`` describes."""
        return MODEL_OF_TASK[task].model

    def _arguments(self, task: str, model: dict[str, Any]) -> dict[str, Any]:
        """Return those values of the section ``model`` that are arguments of ``target``."""
        return {key: value for key, value in model.items() if key not in MODEL_OF_TASK[task].training_keys}

    def _complete(self, name: str) -> None:
        """Write all defaults of a section into ``config``."""
        self.config[name] = complete(name, self.config[name], self._parsers[name])

    def _build(self, name: str, arguments_of: type | None = None) -> Any:
        return build(Section(name, self.config[name], arguments_of), self._parsers[name], self.where)


def model_of(built: nn.Module) -> nn.Module:
    """Return the model of a task, or the model itself."""
    model = getattr(built, "model", built)
    return model if isinstance(model, nn.Module) else built


def add_import_folders(folders: Iterable[Path]) -> None:
    """Let classes be imported from these folders, after everything installed so that nothing is shadowed."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
