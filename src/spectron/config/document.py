"""A checked YAML document: an experiment, a suite, a study or a system."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from spectron.config.building import Checked, Part, naming_files
from spectron.config.checking import Checker
from spectron.config.classes import Parameter
from spectron.config.composition import Composition
from spectron.config.nested import KeyPath, replace, replace_at
from spectron.errors import ConfigError, without_password

LONGEST_NAME = 200  # bytes; a folder is named after it, with a suffix


class CheckedDocument:
    """A composed configuration whose every key, type and class has been checked; sections are built on request.

    Args:
        composition: The configuration.
        schema: Type hint and default of each section. A section without a default is required.
        title: Name of the document in errors, such as ``an experiment``.
        examine: Returns what is wrong with an object of a user's class once it is built, or None.

    Attributes:
        config: All sections as plain values, with every default.
        sections: The checked sections.
        where: Returns the file that sets a key.

    Raises:
        ConfigError: for an unknown key, a wrong type, or a class of the wrong kind.
    """

    def __init__(
        self,
        composition: Composition,
        schema: Mapping[str, Parameter],
        title: str,
        examine: Callable[[Any], str | None] = lambda built: None,
    ) -> None:
        self.composition = composition
        self.where = composition.where
        checker = Checker(composition, examine)
        # An empty section ("trainer:" and nothing after it) is like a missing one.
        given = {name: value for name, value in composition.values.items() if value is not None}
        defaults = {name: copy.deepcopy(p.default) for name, p in schema.items() if not p.required}
        self.sections: dict[str, Checked] = checker.arguments(defaults | given, schema, (), title)
        self.config: dict[str, Any] = {name: section.plain() for name, section in self.sections.items()}
        if "name" in schema:
            self.require_name(self.config["name"], ("name",))

    def stored(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return a configuration as it may be stored: without values of the environment and without passwords."""
        return replace(
            replace_at(config, self.composition.withheld),
            lambda value: without_password(value) if isinstance(value, str) else value,
        )

    def build(self, section: str) -> Any:
        """Return the objects that a section describes.

        Raises:
            SpectronError: if a class refuses its arguments; with key and origin.
        """
        return self.sections[section].build()

    def arguments(self, section: str) -> dict[str, Any]:
        """Return the arguments of a class that a section holds, built, without the class.

        Raises:
            SpectronError: if a class in them refuses its arguments; with key and origin.
        """
        arguments = self.sections[section]
        assert isinstance(arguments, Part)
        return arguments.built_arguments()

    def parts(self, section: str) -> list[Part]:
        """Return every class that a section names, outer ones first."""
        return list(self.sections[section].parts())

    def part(self, *path: str) -> Part:
        """Return the class at a key path, such as ``("model", "encoder")``."""
        return next(part for part in self.parts(path[0]) if part.path == path)

    def error(self, path: KeyPath, message: str, allowed: Iterable[str] = ()) -> ConfigError:
        """Return an error about a key, with the file that sets the key."""
        return ConfigError(message, key=".".join(path), origin=self.where(path), allowed=allowed)

    def require_name(self, name: str, path: KeyPath) -> None:
        """Refuse a name that no folder can have.

        Raises:
            ConfigError: for a name that is empty, too long, or has a control character.
        """
        if not 1 <= len(name.encode()) <= LONGEST_NAME or not name.isprintable():
            message = f"must have 1 to {LONGEST_NAME} bytes and no control characters, got {name[:LONGEST_NAME]!r}"
            raise self.error(path, message)

    def naming_files(self, section: str) -> AbstractContextManager[None]:
        """Add key and origin to errors about a file that a section names."""
        return naming_files(self.sections[section], self.where)
