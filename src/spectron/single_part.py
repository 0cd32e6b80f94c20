"""One part of an experiment, built and examined without the others as far as its arguments allow, and without the data."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

import torch
from lightning import seed_everything
from torch import nn

from spectron.audio.mel import MelConfig
from spectron.blame import Section
from spectron.building import build, explaining, parser_of
from spectron.checking import parameters, part_hints
from spectron.conformance import Verdict, examine
from spectron.experiment import Experiment
from spectron.optimisation import freeze


def examine_part(experiment: Experiment, name: str) -> Iterator[Verdict]:
    """Every verdict on a part of an experiment, on a GPU where there is one.

    Raises:
        ConfigError: if the task has no such part, or the part refuses its values.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield from examine(build_part(experiment, name).to(device), lambda: build_part(experiment, name, seed_offset=1))


def build_part(experiment: Experiment, name: str, seed_offset: int = 0) -> nn.Module:
    """A part as the experiment describes it, weights and freezing included."""
    seed_everything(experiment.config["seed"] + seed_offset, workers=True, verbose=False)
    part = _built(experiment, name)
    experiment.load_weights(part, name)
    patterns = (experiment.config["model"].get("optimisation") or {}).get("freeze", [])
    names = [f"{name}.{key}" for key, _ in part.named_parameters()]
    freeze(nn.ModuleDict({name: part}), [pattern for pattern in patterns if fnmatch.filter(names, pattern)])
    return part


def _built(experiment: Experiment, name: str) -> Any:
    """The part alone; whatever its class is given by the platform is built first."""
    experiment.part_class(name)
    takes = parameters(experiment.task)
    section = Section(name, experiment.config["model"][name], within=("model",))
    made = build(section, parser_of(name, takes[name].hint), experiment.where)
    if not any(hint.supplied for hint in part_hints(takes[name].hint)):
        return made
    if name == "head":
        supplied = _built(experiment, "language_model").width
    else:
        supplied = _built(experiment, "head").mel if "head" in takes else MelConfig(**experiment.config["model"]["mel"])
    with explaining(section, experiment.where):
        return made(supplied)
