"""Errors that a user can correct. Each states which value is wrong, where it is set, what is allowed and what to do.

The command line prints them without a traceback (``--debug`` shows it). Every other exception is a defect of Spectron.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from spectron import DISTRIBUTION

NAMES_SHOWN = 20  # names that an error lists before it counts the rest


class SpectronError(Exception):
    """Base of all errors that a user can correct.

    Args:
        message: What is wrong, and what to do, without key and origin: ``str(error)`` adds both.
        key: Dotted path of the configuration key. A part names its own argument, and the code that builds the part puts
            the path before it.
        origin: File that sets the key, or ``the command line``. An error with an origin has its whole key.
        allowed: Names or values that would be accepted.
        file: File or folder that the error is about. If a key of the configuration names it, that key is added.
    """

    def __init__(
        self,
        message: str,
        *,
        key: str = "",
        origin: str = "",
        allowed: Iterable[str] = (),
        file: str | Path | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.key, self.origin, self.allowed = message, key, origin, tuple(allowed)
        self.file = None if file is None else Path(file)

    def __str__(self) -> str:
        return (f"{self.key}: " if self.key else "") + self.message + (f" (in {self.origin})" if self.origin else "")

    def within(self, path: str, origin: str = "") -> Self:
        """Return the same error with ``path`` before its key, and with ``origin`` unless it has one."""
        return self.changed(key=".".join(name for name in (path, self.key) if name), origin=self.origin or origin)

    def message_of(self, cls: type) -> str:
        """Return the message as one about a class, for an error about none of the arguments that can be set."""
        return f"{cls.__name__}: {self}"

    def changed(self, *, message: str | None = None, key: str | None = None, origin: str | None = None) -> Self:
        """Return the same error with another message, key or origin."""
        other = copy.copy(self)
        other.message = self.message if message is None else message
        other.key = self.key if key is None else key
        other.origin = self.origin if origin is None else origin
        return other


class ConfigError(SpectronError):
    """A YAML key, type or class is wrong."""


class MissingExtraError(ConfigError):
    """A package of an extra is not installed; ``allowed`` holds the name of the extra."""

    def message_of(self, cls: type) -> str:
        """Return the message, which already names the class."""
        return self.message


class UntrustedCodeError(ConfigError):
    """A checkpoint or an export names Python code, which runs only if the user trusts it; ``file`` holds the code."""


class DataError(SpectronError):
    """A manifest or an audio file is missing or broken; the message names the file (and line)."""


class WriteError(DataError):
    """A file cannot be written, such as on a full disk; ``file`` names it."""


class MemoryExhaustedError(SpectronError):
    """The memory of the machine or of its GPU does not suffice."""


class CheckpointError(SpectronError):
    """A checkpoint or weights file is missing, unsafe, or does not cover the model exactly."""


class TrackingError(SpectronError):
    """The MLflow store cannot be reached, or holds no such run."""


class TrainingError(SpectronError):
    """Training cannot continue: a loss that is not finite, or too many broken audio files."""


class WorkerError(SpectronError):
    """The operating system ended a worker process, probably because memory was short; ``key`` lowers the need."""


class LockedError(SpectronError):
    """Another process writes the same thing; ``file`` is the file of its lock."""


class Interrupted(Exception):
    """The user stopped a run; the message states how to resume it. Nothing is wrong, so it is no ``SpectronError``."""


class EndedByAnother(Exception):
    """One of several processes ends because of an error that the first process reports."""


def require_extra(extra: str, owner: str, *packages: str) -> None:
    """Refuse a missing package of an extra.

    Args:
        extra: Name of the extra.
        owner: The class or function that needs it, for the message.
        packages: Import names of the packages.

    Raises:
        MissingExtraError: if one of the packages is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"{owner} needs the extra {extra}: pip install '{DISTRIBUTION}[{extra}]' (missing: {', '.join(missing)})",
            allowed=[extra],
        )


def without_password(text: str) -> str:
    """Return a text without the user names and passwords of the URIs in it."""
    return re.sub(r"://[^/@\s]+@", "://", text)


@contextmanager
def errors_of_part(argument: str, part: object) -> Iterator[None]:
    """Add to an error of a part the argument that holds the part.

    Args:
        argument: Name of the argument, such as ``transcriber``.
        part: The part; an error about no argument of the part names its class.
    """
    try:
        yield
    except SpectronError as error:
        if error.origin:
            raise
        if error.key:
            raise error.within(f"{argument}.init_args") from error
        raise error.changed(key=argument, message=error.message_of(type(part))) from error


@contextmanager
def about_file(path: str | Path) -> Iterator[None]:
    """Set the file of an error that has none."""
    try:
        yield
    except SpectronError as error:
        error.file = error.file or Path(path)
        raise


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known name nearest to ``name``, or with the known names if none is near."""
    names = sorted(set(known))
    close = nearest(name, names)
    if close:
        return f"Did you mean `{close}`?"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"Valid names: {', '.join(names[:NAMES_SHOWN])}{more}." if names else "Nothing is accepted here."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, or None if none is near."""
    return next(iter(difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)), None)
