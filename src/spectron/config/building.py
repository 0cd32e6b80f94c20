"""Builds what a checked configuration describes, with jsonargparse: parts, data modules, callbacks, settings."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from spectron.config.composition import KeyPath
from spectron.config.error_location import Section, explained, key_of_file
from spectron.config.user_classes import to_dotted, to_references
from spectron.errors import ConfigError, DataError


def parser_of(
    section: str, hint: Any, arguments_of: bool = False, left_out: Iterable[str] = (), built: bool = True
) -> ArgumentParser:
    """A parser of one section of a configuration.

    Args:
        section: Name of the section.
        hint: Type hint of its value, or the class whose arguments it holds.
        arguments_of: Whether the section holds the arguments of the class ``hint`` rather than a ``class_path``.
        left_out: Arguments of that class that cannot be set.
        built: Whether building the section makes an object of the class, or leaves its arguments to the caller.
    """
    parser = ArgumentParser(exit_on_error=False)
    if arguments_of:
        parser.add_class_arguments(hint, section, skip=set(left_out), instantiate=built)
    else:
        parser.add_argument(f"--{section}", type=hint)
    return parser


def complete(section: str, value: Any, parser: ArgumentParser) -> Any:
    """The section as plain values with every default written out, so that a run tells all that made it.

    Raises:
        ConfigError: for whatever jsonargparse does not accept.
    """
    try:
        # Not the parser's own dump, which stumbles over defaults that are enumerations.
        return to_references(json.loads(json.dumps(_parse(section, value, parser)[section], default=_plain)))
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{section}: {_last_line(error)}") from error


def build(section: Section, parser: ArgumentParser, where: Callable[[KeyPath], str]) -> Any:
    """The objects that a section describes.

    Args:
        section: Its name, its checked value, and the class whose arguments it holds, where it holds some.
        parser: The section's parser.
        where: Tells which file says a key.

    Raises:
        ConfigError: as ``explaining`` words it.
    """
    with explaining(section, where):
        return parser.instantiate(_parse(section.name, section.value, parser))[section.name]


@contextmanager
def explaining(section: Section, where: Callable[[KeyPath], str]) -> Iterator[None]:
    """Have what a class refuses while it is built name the key, the file and, where it is about no single key, the class.

    Raises:
        ConfigError: where a class refuses its values; a typed error of another kind stays of its kind.
    """
    try:
        yield
    except Exception as error:
        if explanation := explained(error, section):
            path, told = explanation
            raise type(told)(
                f"{told} (in {where((*path, 'class_path'))})"
            ) from error  # of a whole part, the file that chose its class
        if isinstance(error, ConfigError) and section.within and str(error).startswith(f"{section.name}: "):
            # Of a part that refuses the arguments themselves no method was ever at work.
            raise ConfigError(
                f"{'.'.join(section.within)}.{error} (in {where((*section.path, 'class_path'))})"
            ) from error
        if isinstance(error, ArgumentError | ValueError | OSError):
            raise ConfigError(f"{'.'.join(section.path)}: {_last_line(error)} (in {where(section.path)})") from error
        raise


@contextmanager
def naming_files(section: Section, where: Callable[[KeyPath], str]) -> Iterator[None]:
    """Have an error about a file that the section names begin with its key, and say which file of the configuration names it.

    Raises:
        DataError: as it was, with key and file where the section names what it is about.
    """
    try:
        yield
    except DataError as error:
        path = key_of_file(error, section)
        if path is None:
            raise
        raise DataError(f"{'.'.join(path)}: {error} (in {where(path)})") from error


def _parse(section: str, value: Any, parser: ArgumentParser) -> Any:
    """Parse a copy: jsonargparse puts objects of its own into the dicts that it is given."""
    return parser.parse_object({section: to_dotted(copy.deepcopy(value))})


def _plain(value: Any) -> Any:
    """What JSON does not know, as something that it does."""
    if isinstance(value, Namespace):
        return vars(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.name if isinstance(value, Enum) else str(value)


def _last_line(error: Exception) -> str:
    """The part of a nested message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if isinstance(error, ArgumentError) and lines else " ".join(lines)
