"""Which key of a configuration an error is about, found in the frames that it came through."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from spectron.config.checking import import_class, parameters
from spectron.config.composition import KeyPath
from spectron.config.user_classes import line_of
from spectron.errors import ConfigError, SpectronError

OURS = ("spectron", "datamodules", "evaluation")


@dataclass
class Section:
    """A section of a configuration.

    Args:
        name: Its key.
        value: Its plain value.
        arguments_of: The class whose arguments it holds, where it is no class path.
        within: The keys above it.
    """

    name: str
    value: Any
    arguments_of: type | None = None
    within: KeyPath = ()

    @property
    def path(self) -> KeyPath:
        """The whole key."""
        return (*self.within, self.name)

    def parts(self) -> Iterator[tuple[KeyPath, type, dict[str, Any]]]:
        """Every class that the section names, with the key path and the arguments that it is given."""
        if self.arguments_of is not None:
            yield self.path, self.arguments_of, self.value
        yield from _parts(self.value, self.path)


def explained(error: Exception, section: Section) -> tuple[KeyPath, SpectronError] | None:
    """The error in words that begin with the key, and the key; None for a defect of the platform's own.

    A message that begins with an argument's name, ``source: ...``, is about that argument; any other is about the part.
    """
    typed = [raised for raised in _chain(error) if isinstance(raised, SpectronError)]
    blamed = [(raised, found) for raised in typed or _chain(error) if (found := _blamed(raised, section))]
    if not blamed:
        return None
    # The innermost part: libraries wrap its error where a type hint has alternatives.
    raised, (path, cls) = max(blamed, key=lambda pair: len(pair[1][0]))
    if not isinstance(raised, SpectronError | ValueError | OSError) and not is_users_own(cls):
        return None
    kind = type(raised) if isinstance(raised, SpectronError) else ConfigError
    return _worded(path, cls, _said(raised, cls), section, kind)


def key_of_file(error: Exception, section: Section) -> KeyPath | None:
    """The key whose value is the file or folder that a message names; of one within another, the inner one's."""
    named = []
    for path, value in _texts(section.value, section.path):
        names = [Path(value).absolute(), *([Path(value)] if "/" in value or Path(value).suffix else [])]
        if any(re.search(rf"(?<![\w/.-]){re.escape(str(name))}(?![\w/-]|\.\w)", str(error)) for name in names):
            named.append((path, value))
    return max(named, key=lambda pair: len(pair[1]))[0] if named else None


def is_users_own(cls: type) -> bool:
    """Whether a class is neither the platform's nor a library's that came with it."""
    module = cls.__module__.split(".")[0]
    return module not in (*OURS, *sys.stdlib_module_names, "torch", "lightning", "transformers", "torchmetrics")


def _worded(
    path: KeyPath, cls: type, said: str, section: Section, kind: type[SpectronError]
) -> tuple[KeyPath, SpectronError]:
    said = said.removeprefix(f"{cls.__name__}.").removeprefix(f"{cls.__name__}: ").removeprefix(f"{cls.__name__} ")
    arguments = path if cls is section.arguments_of and path == section.path else (*path, "init_args")
    named = re.match(r"(\w+)((?:\.\w+)*)(:?) ", said)
    if named and named[1] in _settable(cls, path, section):
        key = (*arguments, named[1], *named[2].split(".")[1:])
        rest = said[named.end() :] if named[3] else f"{cls.__name__}: {said}"
        return key, kind(f"{'.'.join(key)}: {rest}")
    return path, kind(f"{'.'.join(path)}: {cls.__name__}: {said}")


def _settable(cls: type, path: KeyPath, section: Section) -> set[str]:
    """Arguments of a class that a configuration can set: those that it is given by the platform are not among them."""
    if cls is section.arguments_of:
        return set(parameters(cls))
    given = next(arguments for where, part, arguments in section.parts() if where == path)
    return {
        name
        for name, parameter in parameters(cls).items()
        if name in given or parameter.default is not inspect.Parameter.empty
    }


def _said(error: Exception, cls: type) -> str:
    """The message; of an error that nobody worded for users also its kind, and the line of the class' own file."""
    if isinstance(error, SpectronError):
        return str(error)
    said = " ".join(str(error).split())
    if isinstance(error, ValueError | OSError):
        return said
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    line = line_of(error, Path(file)) if file else ""
    unready = any(
        sign in said for sign in ("Module.__init__() call", "attribute '_modules'", "attribute '_parameters'")
    )
    cure = ". Call super().__init__() first in its constructor" if unready else ""
    return f"{f'{Path(file).name}, {line}' if file and line else ''}{type(error).__name__}: {said}{cure}"


def _blamed(error: BaseException, section: Section) -> tuple[KeyPath, type] | None:
    """The innermost object that the section names and that was at work, by key path and class."""
    found = None
    named = list(section.parts())
    for owner, given in _at_work(error.__traceback__):
        places = [(path, cls, arguments) for path, cls, arguments in named if cls is type(owner)]
        if places:
            # Of two parts of one class, the one with these arguments.
            fits = [
                place for place in places if all(given.get(name, value) == value for name, value in place[2].items())
            ]
            path, cls, _ = (fits or places)[0]
            found = path, cls
    return found


def _at_work(trace: TracebackType | None) -> Iterator[tuple[object, dict[str, Any]]]:
    while trace is not None:
        local = trace.tb_frame.f_locals
        if "self" in local:
            yield local["self"], dict(local)
        trace = trace.tb_next


def _chain(error: BaseException | None) -> list[Exception]:
    """The error and what it came from."""
    found: list[Exception] = []
    while error is not None:
        if isinstance(error, Exception):
            found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _parts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, type, dict[str, Any]]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        yield path, import_class(value["class_path"]), value.get("init_args") or {}
    for key, item in items:
        yield from _parts(item, (*path, str(key)))


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, str):
        yield path, value
    for key, item in items:
        yield from _texts(item, (*path, str(key)))
