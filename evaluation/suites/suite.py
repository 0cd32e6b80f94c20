"""Suite: a checked YAML with the tasks and the judges of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectron.config.checking import UNCHECKED
from spectron.config.classes import Parameter
from spectron.config.composition import Composition, compose
from spectron.config.document import CheckedDocument
from spectron.config.user_classes import add_import_folders
from spectron.errors import ConfigError
from spectron.evaluation.judges import Judge, Judges
from spectron.evaluation.tasks import Task
from spectron.ranges import Seed
from spectron.tracking.store import TrackingSettings

SECTIONS = {
    "name": Parameter(str),
    "seed": Parameter(Seed, 17),
    "judges": Parameter(dict[str, Judge], {}),
    "tasks": Parameter(dict[str, Task]),
    "shared": Parameter(UNCHECKED, {}),
    "tracking": Parameter(TrackingSettings, {}),
}
# Keys that do not change a result: names, shared values and the place of the results.
NO_SETTINGS = ("name", "shared", "tracking")


class Suite:
    """Suite with checked keys, types and classes; nothing is built until a method asks for it.

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
        """Read a suite from a YAML file with ``key=value`` overrides."""
        add_import_folders([Path.cwd(), path.absolute().parent])
        return cls(compose(path, overrides))

    @property
    def name(self) -> str:
        """Return the suite's name, which is the name of its evaluations in MLflow."""
        return self.config["name"]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the configuration that can change a result."""
        return {key: value for key, value in self.document.stored(self.config).items() if key not in NO_SETTINGS}

    def judges(self) -> Judges:
        """Build the judges without reading their weights.

        Raises:
            ConfigError: if a judge needs evidence that no other judge gives.
        """
        built = self.document.build("judges")
        try:
            return Judges(built)
        except ConfigError as error:
            raise error.within("", self.document.where(tuple(error.key.split(".")[:2]))) from error

    def tasks(self) -> dict[str, Task]:
        """Build the tasks, by name."""
        return self.document.build("tasks")

    def tracking(self) -> TrackingSettings:
        """Return the settings of the store of evaluations."""
        return self.document.build("tracking")
