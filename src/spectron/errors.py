"""Errors that a user can mend. Each states which value is wrong, where it stands, what is allowed and what to do.

The command line prints them without a traceback (``--debug`` shows it). Every other exception is a defect of Spectron.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Self

NAMES_SHOWN = 20  # names that an error lists before it counts the rest


class SpectronError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(SpectronError):
    """A YAML key, type or class is wrong.

    Args:
        message: What is wrong, and the cure, without key and origin: ``str(error)`` adds both.
        key: Dotted path of the key; a part names its own argument, and whoever builds the part adds the path before it.
        origin: File that sets the key, or ``the command line``.
        allowed: Names or values that would be accepted.
    """

    def __init__(self, message: str, *, key: str = "", origin: str = "", allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message, self.key, self.origin, self.allowed = message, key, origin, tuple(allowed)

    def __str__(self) -> str:
        return (f"{self.key}: " if self.key else "") + self.message + (f" (in {self.origin})" if self.origin else "")

    def within(self, path: str, origin: str = "") -> Self:
        """Return the same error with ``path`` before its key, and with ``origin`` unless it has one."""
        key = ".".join(part for part in (path, self.key) if part)
        return type(self)(self.message, key=key, origin=self.origin or origin, allowed=self.allowed)


class MissingExtraError(ConfigError):
    """A package of an extra is not installed; ``allowed`` holds the name of the extra."""


class DataError(SpectronError):
    """A manifest or an audio file is missing or broken; the message names the file (and line)."""


class CheckpointError(SpectronError):
    """A checkpoint or weights file is missing, unsafe, or does not cover the model exactly."""


class TrackingError(SpectronError):
    """The MLflow store cannot be reached, or holds no such run."""


class TrainingError(SpectronError):
    """Training cannot continue: a loss that is not finite, or too many broken audio files."""


class Interrupted(Exception):
    """The user stopped a run; the message states how to resume it. Nothing is wrong, so it is no ``SpectronError``."""


def require_extra(extra: str, owner: str, *packages: str) -> None:
    """Refuse to go on without the packages of an extra.

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
            f"{owner} needs the extra {extra}: pip install 'spectron-slm[{extra}]' (missing: {', '.join(missing)})",
            allowed=[extra],
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known name nearest to ``name``, or with the known names if none is near."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"Valid names: {', '.join(names[:NAMES_SHOWN])}{more}." if names else "Nothing is accepted here."
