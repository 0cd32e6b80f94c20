"""A suite: a checked YAML that says which tasks a system is put to, and who judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectron.config.checking import UNCHECKED
from spectron.config.classes import Parameter
from spectron.config.composition import Composition, compose
from spectron.config.document import CheckedDocument
from spectron.evaluation.evaluator import Judges
from spectron.evaluation.tasks import Task
from spectron.experiment.experiment import add_import_folders
from spectron.tracking.store import TrackingSettings

SECTIONS = {
    "name": Parameter(str),
    "seed": Parameter(int, 17),
    "judges": Parameter(Judges, {}),
    "tasks": Parameter(dict[str, Task]),
    "shared": Parameter(UNCHECKED, {}),
    "tracking": Parameter(TrackingSettings, {}),
}
# Where results are kept, and values that others refer to, do not change a result.
NO_SETTINGS = ("name", "shared", "tracking")


class Suite:
    """A suite whose every key, type and class has been checked; nothing is built until asked for.

    Args:
        composition: The composed configuration.

    Attributes:
        document: The checked sections.
        config: The configuration as plain values, with all defaults.

    Raises:
        ConfigError: for any unknown key, wrong type, or class of the wrong kind.
    """

    def __init__(self, composition: Composition) -> None:
        self.document = CheckedDocument(composition, SECTIONS, "a suite")
        self.config = self.document.config

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str] = ()) -> Suite:
        """The suite of a YAML file with ``key=value`` overrides."""
        add_import_folders([Path.cwd(), path.absolute().parent])
        return cls(compose(path, overrides))

    @property
    def name(self) -> str:
        """The suite's name, under which MLflow keeps its evaluations."""
        return self.config["name"]

    @property
    def settings(self) -> dict[str, Any]:
        """All that may change a result."""
        return {key: value for key, value in self.config.items() if key not in NO_SETTINGS}

    def judges(self) -> Judges:
        """Build the judges; their weights are not read yet."""
        return self.document.build("judges")

    def tasks(self) -> dict[str, Task]:
        """Build the tasks, by name."""
        return self.document.build("tasks")

    def tracking(self) -> TrackingSettings:
        """Where evaluations are kept."""
        return self.document.build("tracking")
