"""Builds what a checked configuration describes, with jsonargparse: parts, data modules, callbacks, settings."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from enum import Enum
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from spectron.errors import ConfigError, SpectronError


def parser_of(section: str, hint: Any, arguments_of: bool = False, left_out: Iterable[str] = (), built: bool = True) -> ArgumentParser:
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
        return json.loads(json.dumps(_parse(section, value, parser)[section], default=_plain))
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{section}: {_last_line(error)}") from error


def build(section: str, value: Any, parser: ArgumentParser) -> Any:
    """The objects that a section describes.

    Raises:
        ConfigError: where a class refuses its values; the message names the class.
    """
    try:
        return parser.instantiate(_parse(section, value, parser))[section]
    except SpectronError:
        raise
    except ArgumentError as error:
        raise ConfigError(f"{section}: {_last_line(error)}") from error
    except (ValueError, OSError) as error:
        if typed := _typed_within(error):
            raise typed from error
        # What a constructor refuses is a value of the configuration; other exceptions are defects and keep their traceback.
        raise ConfigError(f"{section}: {_raised_by(error)}{_last_line(error)}") from error


def _parse(section: str, value: Any, parser: ArgumentParser) -> Any:
    """Parse a copy: jsonargparse puts objects of its own into the dicts that it is given."""
    return parser.parse_object({section: copy.deepcopy(value)})


def _plain(value: Any) -> Any:
    """What JSON does not know, as something that it does."""
    if isinstance(value, Namespace):
        return vars(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.name if isinstance(value, Enum) else str(value)


def _typed_within(error: BaseException | None) -> SpectronError | None:
    """The error of ours that jsonargparse wraps where a type hint has alternatives, such as ``TextScorer | None``."""
    while error is not None and not isinstance(error, SpectronError):
        error = error.__cause__ or error.__context__
    return error


def _last_line(error: Exception) -> str:
    """The part of a nested message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if isinstance(error, ArgumentError) and lines else " ".join(lines)


def _raised_by(error: Exception) -> str:
    """Name of the class whose constructor raised, followed by ": "."""
    name, frame = "", error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_name in ("__init__", "__post_init__"):
            name = type(frame.tb_frame.f_locals.get("self")).__name__ + ": "
        frame = frame.tb_next
    return name
