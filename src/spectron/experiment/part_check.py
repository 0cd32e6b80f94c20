"""Check of single parts of an experiment, built without data and, if possible, without the other parts."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning import seed_everything
from torch import nn

from spectron.audio.mel import MelConfig
from spectron.config.building import Part
from spectron.config.classes import parameters, public_path
from spectron.conformance import CheckResult, examine, suite_of
from spectron.devices import device_called
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment
from spectron.inference.model_config import model_of
from spectron.model import SpectronModel
from spectron.training.optimisation import freeze

# Kinds of parts inside others: the section that holds them, and a key that may name one. Others are keys of `model`.
INNER = {
    "metric": ("callbacks", "callbacks.speech.init_args.metrics"),
    "judge": ("callbacks", "callbacks.speech.init_args.judges"),
    "tokenizer": ("model", "model.head.init_args.tokenizer"),
}


@dataclass
class NamedPart:
    """A part that a configuration names.

    Args:
        key: Key path of the part.
        class_path: Class of the part.
        build: Builds the part from the experiment's seed plus an offset.
    """

    key: str
    class_path: str
    build: Callable[[int], nn.Module]

    def verdicts(self) -> Iterator[CheckResult]:
        """Check the part, on a GPU if there is one, and yield the result of each check.

        Raises:
            ConfigError: if the part refuses its values.
        """
        yield from examine(self.build(0).to(device_called()), lambda: self.build(1))


def named_parts(experiment: Experiment, name: str) -> list[NamedPart]:
    """Find the part of the model with this name, all segments, or all metrics, judges or tokenizers.

    Raises:
        ConfigError: if there is none, or a key of ``weights`` or a pattern of ``freeze`` matches no part.
    """
    if name == "segment":
        return _segments(experiment)
    if name not in INNER:
        class_path = experiment.part_class(name)
        _require_owners(experiment)
        return [NamedPart(f"model.{name}", class_path, partial(_build_model_part, experiment, name))]
    found: dict[str, list[NamedPart]] = {kind: [] for kind in INNER}
    section, key = INNER[name]
    for checked in experiment.document.parts(section):
        suite = suite_of(checked.cls)
        if suite is not None and suite.kind in found:
            build = partial(_build_alone, experiment, checked)
            found[suite.kind].append(NamedPart(".".join(checked.path), public_path(checked.cls), build))
    if not found[name]:
        others = [named.key for parts in found.values() for named in parts]
        cure = f"Name one by its class_path, at {key} for example"
        found_instead = f"; named are {', '.join(others)}" if others else ""
        raise ConfigError(
            f"no {name} is named in this experiment, and defaults are not examined{found_instead}. {cure}",
            key=section,
        )
    return found[name]


def _segments(experiment: Experiment) -> list[NamedPart]:
    """Return the segments of the model's sequence, which share the other parts.

    Raises:
        ConfigError: if the task has no sequence.
    """
    model = model_of(experiment.module()).to(device_called()).eval()
    if not isinstance(model, SpectronModel):
        raise ConfigError(f"{experiment.task.__name__} has no sequence", key="model.sequence")

    def build(name: str, seed_offset: int) -> nn.Module:
        seed_everything(experiment.config["seed"] + seed_offset, workers=True, verbose=False)
        return model.settings.build(model.parts)[name]

    return [
        NamedPart(f"model.sequence.{name}", public_path(type(segment)), partial(build, name))
        for name, segment in model.segments.items()
    ]


def _build_alone(experiment: Experiment, part: Part, seed_offset: int) -> Any:
    """Build a part that needs only its own arguments."""
    seed_everything((experiment.config["seed"] + seed_offset) % 2**32, workers=True, verbose=False)
    return part.build()


def _build_model_part(experiment: Experiment, name: str, seed_offset: int) -> nn.Module:
    """Build a part of the model as the experiment describes it, with its weights and frozen parameters.

    Raises:
        ConfigError: if the part refuses its values, or a pattern of ``freeze`` for this part matches nothing.
    """
    seed_everything((experiment.config["seed"] + seed_offset) % 2**32, workers=True, verbose=False)
    part = _built(experiment, name)
    experiment.load_weights(part, name)
    names = [f"{name}.{key}" for key, _ in part.named_parameters()]
    own = [
        pattern
        for pattern in _freeze_patterns(experiment)
        if pattern.split(".")[0] == name or fnmatch.filter(names, pattern)
    ]
    try:
        freeze(nn.ModuleDict({name: part}), own)
    except ConfigError as error:
        raise error.within("model", experiment.document.where(("model", "optimisation", "freeze"))) from error
    return part


def _freeze_patterns(experiment: Experiment) -> list[str]:
    return (experiment.config["model"].get("optimisation") or {}).get("freeze", [])


def _require_owners(experiment: Experiment) -> None:
    """Build the whole model, which refuses the key, if a key of ``weights`` or ``freeze`` names no part.

    Such a key may name a module that the task itself adds: only the whole model shows it.
    """
    claimed = [*experiment.config["weights"], *_freeze_patterns(experiment)]
    if any(key.split(".")[0] not in experiment.part_classes for key in claimed):
        experiment.module()


def _built(experiment: Experiment, name: str) -> Any:
    """Build a part alone, after the part that supplies its first argument."""
    experiment.part_class(name)
    part = experiment.document.part("model", name)
    if not part.deferred:
        return part.build()
    if name == "head":
        return part.build()(_built(experiment, "language_model").hidden_size)
    if "head" in parameters(experiment.task):
        return part.build()(_built(experiment, "head").format)
    return part.build()(MelConfig(**experiment.config["model"]["mel"]))
