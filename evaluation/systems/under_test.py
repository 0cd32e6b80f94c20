"""The system under test: a trained model, or any class that continues speech, named in a YAML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectron.config.building import build, complete, parser_of
from spectron.config.checking import Checker, Parameter
from spectron.config.composition import compose
from spectron.config.error_location import Section
from spectron.contracts import SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.evaluation.systems.answering import TeacherForcing
from spectron.inference.model_config import add_import_folders
from spectron.experiment.loading import Source, find_source, load_module
from spectron.tracking.provenance import weights_sha256
from spectron.tracking.store import TrackingSettings
from spectron.weights.checkpoint_files import read_checkpoint

SECTIONS = {"system": Parameter(SpokenLanguageModel), "shared": Parameter(dict[str, Any], {})}


@dataclass
class Subject:
    """A system under test.

    Args:
        system: The system, in evaluation mode.
        reference: How the user named it.
        teacher_forced: Gives the spectrogram that it predicts from the true past, where it has such a thing.
        source: Where its weights are from, where it was trained here.
    """

    system: SpokenLanguageModel
    reference: str
    teacher_forced: TeacherForcing | None = None
    source: Source | None = None

    @property
    def weights(self) -> nn.Module | None:
        """What holds its weights, where it is a module."""
        return self.system if isinstance(self.system, nn.Module) else None

    def described(self) -> dict[str, Any]:
        """What stands in the results."""
        kind = type(self.system)
        weights = "" if self.weights is None else weights_sha256(self.weights)
        about = {
            "reference": self.reference,
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "weights_sha256": weights,
        }
        return about | ({} if self.source is None else origin_of(self.source))

    def to(self, device: torch.device) -> Subject:
        """Move the weights."""
        if self.weights is not None:
            self.weights.to(device).eval()
        return self


def origin_of(source: Source) -> dict[str, Any]:
    """The very checkpoint that a name stood for: a name means the newest run, and another one tomorrow."""
    origin: dict[str, Any] = {"checkpoint": str(source.path)}
    if source.run is not None:
        origin |= {"experiment": source.run.experiment, "run": source.run.run_id}
    if not source.is_export:
        origin["step"] = int(read_checkpoint(source.path, mmap=True)["global_step"])
    return origin


def find_subject(reference: str, tracking: TrackingSettings | None = None) -> Subject:
    """The system that a run, a checkpoint, an export, or a YAML with the key ``system`` stands for.

    Raises:
        ConfigError: if the YAML is wrong, or the model does not continue speech.
        CheckpointError: if the checkpoint does not cover its model.
        TrackingError: if there is no such run.
    """
    path = Path(reference)
    if path.is_file() and path.suffix in (".yaml", ".yml") and "system" in compose(path).values:
        return Subject(_own_system(path), reference)
    source = find_source(reference, tracking)
    module: Any = load_module(source)
    system = getattr(module, "model", module)
    if not isinstance(system, SpokenLanguageModel):
        raise ConfigError(
            f"{reference} is a {type(module).__name__}, which does not continue speech: name a run of a SpectronModule"
        )
    return Subject(system, reference, getattr(module, "teacher_forced_mel", None), source)


def _own_system(path: Path) -> SpokenLanguageModel:
    """The system that a YAML names by its class."""
    add_import_folders([Path.cwd(), path.absolute().parent])
    composition = compose(path)
    values = composition.values
    Checker(composition.where).arguments({"system": values["system"]}, SECTIONS, (), "a system", set(values))
    parser = parser_of("system", SpokenLanguageModel)
    return build(Section("system", complete("system", values["system"], parser), None), parser, composition.where)
