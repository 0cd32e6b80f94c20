"""A checked configuration of a model, and the model that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from spectron.config.checking import UNCHECKED, ArgumentsOf
from spectron.config.classes import Parameter
from spectron.config.composition import Composition
from spectron.config.document import CheckedDocument
from spectron.conformance import malformed
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.errors import CheckpointError, did_you_mean
from spectron.model import SpectronModel
from spectron.randomness import seed_everything
from spectron.ranges import Seed
from spectron.segments import Segment
from spectron.weights.state_dicts import load_part

MODEL_SECTIONS: dict[str, Parameter] = {
    "seed": Parameter(Seed, 0),
    "task": Parameter(str),
    "model": Parameter(UNCHECKED, {}),  # the arguments of the task
    "weights": Parameter(dict[str, str], {}),
}


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
        document: The checked sections.
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
        values, schema = composition.values, dict(sections)
        if sections is MODEL_SECTIONS:
            values = {name: value for name, value in values.items() if name in sections}
        self.target: type = nn.Module  # if the key `task` is missing, which the document reports
        if (task := values.get("task")) is not None:
            self.target = self._class_of(task, composition)
            values = values | {"model": self._arguments(task, values.get("model") or {})}
            schema["model"] = Parameter(ArgumentsOf(self.target), {})
        self.document = CheckedDocument(replace(composition, values=values), schema, "an experiment", _malformed)
        self.config = self.document.config

    @property
    def stored_config(self) -> dict[str, Any]:
        """The configuration as it is stored with a run: without values of the environment and without passwords."""
        return self.document.stored(self.config)

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
        built: nn.Module = self.document.build("model")
        parts = dict(model_of(built).named_children())
        for name in self.config["weights"] if weights else ():
            if name not in parts:
                message = f"the model has no such part. {did_you_mean(name, parts)}"
                raise self.document.error(("weights", name), message, parts)
            self.load_weights(parts[name], name)
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
            raise error.within("", self.where(("weights", name))) from error

    def _class_of(self, task: str, composition: Composition) -> type:
        """Return the class that the section ``model`` describes."""
        return MODEL_OF_TASK[task].model

    def _arguments(self, task: str, model: Any) -> Any:
        """Return those values of the section ``model`` that are arguments of ``target``."""
        if not isinstance(model, dict):  # the document reports it
            return model
        return {key: value for key, value in model.items() if key not in MODEL_OF_TASK[task].training_keys}


def _malformed(built: Any) -> str | None:
    """Return what is wrong with the output of a part of a model, or None."""
    parts = SpeechEncoder | LanguageModel | SpeechHead | Vocoder | Segment
    return malformed(built) if isinstance(built, parts) else None


def model_of(built: nn.Module) -> nn.Module:
    """Return the model of a task, or the model itself."""
    model = getattr(built, "model", built)
    return model if isinstance(model, nn.Module) else built
