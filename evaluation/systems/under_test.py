"""System under test: a trained model, or a class of the user that a YAML names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectron.config.checking import UNCHECKED
from spectron.config.classes import Parameter
from spectron.config.composition import compose
from spectron.config.document import CheckedDocument
from spectron.config.user_classes import add_import_folders
from spectron.contracts import SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.evaluation.systems.answering import TeacherForcing
from spectron.experiment.loading import Source, find_source, load_module
from spectron.tracking.provenance import weights_sha256
from spectron.tracking.store import TrackingSettings
from spectron.weights.checkpoint_files import step_of

SECTIONS = {"system": Parameter(SpokenLanguageModel), "shared": Parameter(UNCHECKED, {})}


@dataclass
class SystemUnderTest:
    """System under test and its origin.

    Args:
        system: The system, in evaluation mode.
        reference: Name or path that the user gave.
        teacher_forced: Function that predicts the spectrogram from the true past, if the system has one.
        source: Run, checkpoint or export of its weights; None for a class of the user.
    """

    system: SpokenLanguageModel
    reference: str
    teacher_forced: TeacherForcing | None = None
    source: Source | None = None

    @property
    def weights(self) -> nn.Module | None:
        """Return the module with its weights, or None if the system is no module."""
        return self.system if isinstance(self.system, nn.Module) else None

    def described(self) -> dict[str, Any]:
        """Return the description for the results: reference, class, hash of the weights, and origin."""
        kind = type(self.system)
        weights = "" if self.weights is None else weights_sha256(self.weights)
        about: dict[str, Any] = {
            "reference": self.reference,
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "weights_sha256": weights,
        }
        if self.source is None:
            return about
        # The name of an experiment means its newest run, which can change, so the checkpoint itself is described too.
        about["checkpoint"] = str(self.source.path)
        if self.source.run is not None:
            about |= {"experiment": self.source.run.experiment, "run": self.source.run.run_id}
        if not self.source.is_export:
            about["step"] = step_of(self.source.path)
        return about

    def to(self, device: torch.device) -> SystemUnderTest:
        """Move the weights to a device."""
        if self.weights is not None:
            self.weights.to(device).eval()
        return self


def find_system(reference: str, tracking: TrackingSettings | None = None, trust: bool = False) -> SystemUnderTest:
    """Return the system of a run, a checkpoint, an export, or a YAML with the key ``system``.

    Args:
        reference: What to evaluate.
        tracking: Store and folder of the runs.
        trust: Whether Python code that a checkpoint or an export names may run.

    Raises:
        ConfigError: if the YAML is invalid, or the model does not continue speech.
        CheckpointError: if the checkpoint does not match its model.
        TrackingError: if the run does not exist.
    """
    path = Path(reference)
    if path.is_file() and path.suffix in (".yaml", ".yml") and "system" in compose(path).values:
        return SystemUnderTest(_own_system(path), reference)
    source = find_source(reference, tracking)
    module: Any = load_module(source, trust=trust)
    system = getattr(module, "model", module)
    if not isinstance(system, SpokenLanguageModel):
        raise ConfigError(
            f"{reference} is a {type(module).__name__}, which cannot continue speech: choose a run of a SpectronModule"
        )
    return SystemUnderTest(system, reference, getattr(module, "teacher_forced_mel", None), source)


def _own_system(path: Path) -> SpokenLanguageModel:
    """Build the system that a YAML describes."""
    add_import_folders([Path.cwd(), path.absolute().parent])
    return CheckedDocument(compose(path), SECTIONS, "a system").build("system")
