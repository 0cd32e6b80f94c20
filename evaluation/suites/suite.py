"""Suite: a checked YAML with the tasks and the judges of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectron.config.building import build, complete, parser_of
from spectron.config.checking import Checker, Parameter
from spectron.config.composition import Composition, compose
from spectron.config.error_location import Section
from spectron.errors import ConfigError
from spectron.evaluation.judges import Judge, Judges
from spectron.evaluation.tasks import Task
from spectron.inference.model_config import add_import_folders
from spectron.tracking.store import TrackingSettings

SECTIONS = {
    "name": Parameter(str),
    "seed": Parameter(int, 17),
    "judges": Parameter(dict[str, Judge], {}),
    "tasks": Parameter(dict[str, Task]),
    "shared": Parameter(dict[str, Any], {}),
    "tracking": Parameter(TrackingSettings, {}),
}
PLAIN = ("name", "seed", "shared")
# Keys that do not change a result: names, shared values and the place of the results.
NO_SETTINGS = ("name", "shared", "tracking")


class Suite:
    """Suite with checked keys, types and classes; nothing is built until a method asks for it.

    Args:
        composition: The composed configuration.

    Attributes:
        config: The configuration as plain values, all defaults written out.

    Raises:
        ConfigError: for any unknown key, wrong type, or class of the wrong kind.
    """

    def __init__(self, composition: Composition) -> None:
        self.where = composition.where
        values = {key: value for key, value in composition.values.items() if value is not None}
        Checker(self.where).arguments(
            {key: value for key, value in values.items() if key != "shared"}, SECTIONS, (), "a suite", set(values)
        )
        self.config = {key: values.get(key, section.default) for key, section in SECTIONS.items()}
        self._parsers = {key: parser_of(key, section.hint) for key, section in SECTIONS.items() if key not in PLAIN}
        for key, parser in self._parsers.items():
            self.config[key] = complete(key, self.config[key], parser)

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
        return {key: value for key, value in self.config.items() if key not in NO_SETTINGS}

    def judges(self) -> Judges:
        """Build the judges without reading their weights.

        Raises:
            ConfigError: if a judge needs evidence that no other judge gives.
        """
        built = self._build("judges")
        try:
            return Judges(built)
        except ConfigError as error:
            raise error.within("", self.where(tuple(error.key.split(".")[:2]))) from error

    def tasks(self) -> dict[str, Task]:
        """Build the tasks, by name."""
        return self._build("tasks")

    def tracking(self) -> TrackingSettings:
        """Return the settings of the store of evaluations."""
        return self._build("tracking")

    def _build(self, name: str) -> Any:
        return build(Section(name, self.config[name], None), self._parsers[name], self.where)
