"""Checked values of a configuration, which return plain values with all defaults, or the objects that they describe."""

from __future__ import annotations

import copy
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from spectron.config.classes import Parameter, is_users_own, public_path
from spectron.config.nested import KeyPath, walk
from spectron.config.user_classes import file_and_line
from spectron.errors import ConfigError, SpectronError


@dataclass
class Checked(ABC):
    """A value that fits its type hint.

    Args:
        path: Its key path.
    """

    path: KeyPath

    @abstractmethod
    def plain(self) -> Any:
        """Return the value as JSON knows it, with the defaults of all classes in it."""

    @abstractmethod
    def build(self) -> Any:
        """Return the object that the value describes.

        Raises:
            SpectronError: if a class refuses its arguments; with key and origin.
        """

    def children(self) -> Iterator[Checked]:
        """Yield the checked values in this one."""
        yield from ()

    def parts(self) -> Iterator[Part]:
        """Yield every class that the value names, outer ones first."""
        for child in self.children():
            yield from child.parts()


@dataclass
class Leaf(Checked):
    """A value without classes.

    Args:
        value: The value as jsonargparse has parsed it.
        parser: Parser of the value, which makes the dataclasses in it; None for a value that holds none.
    """

    value: Any
    parser: ArgumentParser | None = None

    def plain(self) -> Any:
        """Return the value as JSON knows it."""
        return json.loads(json.dumps(self.value, default=_as_json))

    def build(self) -> Any:
        """Return a copy of the value, with the dataclasses in it built."""
        value = copy.deepcopy(self.value)
        return value if self.parser is None else self.parser.instantiate(Namespace(value=value)).value


@dataclass
class Items(Checked):
    """A dict or list of checked values."""

    items: dict[str, Checked] | list[Checked]

    def plain(self) -> Any:
        """Return plain items."""
        return self._each(lambda item: item.plain())

    def build(self) -> Any:
        """Return built items."""
        return self._each(lambda item: item.build())

    def children(self) -> Iterator[Checked]:
        """Yield the items."""
        yield from self.items.values() if isinstance(self.items, dict) else self.items

    def _each(self, change: Callable[[Checked], Any]) -> Any:
        if isinstance(self.items, dict):
            return {key: change(item) for key, item in self.items.items()}
        return [change(item) for item in self.items]


@dataclass
class Part(Checked):
    """A class with its arguments.

    Args:
        cls: The class.
        arguments: The arguments that the configuration gives.
        accepted: All arguments that it could give, in the order of the signature.
        where: Returns the file that sets a key.
        named: Whether the configuration names the class (``class_path``, ``init_args``) or only holds its arguments.
        deferred: Whether the platform gives the first arguments later: ``build`` then returns a function that takes
            them.
        examine: Returns what is wrong with an object of a user's class once it is built, or None.
    """

    cls: type
    arguments: dict[str, Checked]
    accepted: Mapping[str, Parameter] = field(repr=False)
    where: Callable[[KeyPath], str] = field(repr=False)
    named: bool = True
    deferred: bool = False
    examine: Callable[[Any], str | None] = field(default=lambda built: None, repr=False)

    @property
    def arguments_path(self) -> KeyPath:
        """Key path of the arguments."""
        return (*self.path, "init_args") if self.named else self.path

    def plain_arguments(self) -> dict[str, Any]:
        """Return all arguments as plain values; a default that is no plain value is left out."""
        plain = {}
        for name, parameter in self.accepted.items():
            if name in self.arguments:
                plain[name] = self.arguments[name].plain()
            elif _is_plain(parameter.default):
                plain[name] = json.loads(json.dumps(parameter.default, default=_as_json))
        return plain

    def plain(self) -> Any:
        """Return ``{class_path, init_args}``, or the arguments alone if the configuration does not name the class."""
        arguments = self.plain_arguments()
        return {"class_path": public_path(self.cls), "init_args": arguments} if self.named else arguments

    def built_arguments(self) -> dict[str, Any]:
        """Return the arguments that the configuration gives, built."""
        return {name: self.arguments[name].build() for name in self.accepted if name in self.arguments}

    def build(self) -> Any:
        """Return an object of the class, or a function that makes one of the arguments that are still missing."""
        return (
            partial(self._construct, self.built_arguments())
            if self.deferred
            else self._construct(self.built_arguments())
        )

    def children(self) -> Iterator[Checked]:
        """Yield the arguments."""
        yield from self.arguments.values()

    def parts(self) -> Iterator[Part]:
        """Yield this class, if the configuration names it, and those in its arguments."""
        if self.named:
            yield self
        yield from super().parts()

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Add key and origin to an error of this part, while it is built or used.

        Raises:
            SpectronError: of the same kind; a ``ConfigError`` for Python's own errors about values, types and files,
                and for any error of a user's class. Other errors are defects of Spectron and stay as they are.
        """
        try:
            yield
        except SpectronError as error:
            if error.origin:  # an inner part has been found already
                raise
            raise self._located(error) from error
        except Exception as error:
            if not isinstance(error, ValueError | TypeError | OSError) and not is_users_own(self.cls):
                raise
            text = " ".join(str(error).split())
            if not isinstance(error, ValueError | OSError):  # nobody worded it for users
                text = f"{file_and_line(error, self.cls)}{type(error).__name__}: {text}"
            raise self._located(ConfigError(text, file=getattr(error, "filename", None))) from error

    def _construct(self, arguments: dict[str, Any], *supplied: Any) -> Any:
        with self.locating():
            try:
                built = self.cls(*supplied, **arguments)
            except (RuntimeError, MemoryError, OverflowError) as error:  # torch's own, for sizes that it cannot make
                said = " ".join(str(error).split())[:300]
                message = f"cannot be built with these values: {type(error).__name__}: {said}"
                raise ConfigError(message) from error
            if is_users_own(self.cls) and (wrong := self.examine(built)):
                raise ConfigError(wrong)
            return built

    def _located(self, error: SpectronError) -> SpectronError:
        """Return the error with the whole key: of the argument, if it can be set, otherwise of the part."""
        key = tuple(error.key.split(".")) if error.key else key_of_file(error.file, self.plain_arguments())
        if key and key[0] in self.accepted and (key[0] in self.arguments or not self.accepted[key[0]].required):
            path = (*self.arguments_path, *key)
            return error.changed(key=".".join(path), origin=self.where(path))
        path = (*self.path, "class_path") if self.named else self.path
        return error.changed(message=error.message_of(self.cls), key=".".join(self.path), origin=self.where(path))


@contextmanager
def naming_files(value: Checked, where: Callable[[KeyPath], str]) -> Iterator[None]:
    """Add key and origin to an error about a file that a value of the configuration names.

    Raises:
        SpectronError: of the same kind; unchanged if it is about no file, or no key names the file.
    """
    try:
        yield
    except SpectronError as error:
        key = () if error.origin or error.key else key_of_file(error.file, value.plain())
        if not key:
            raise
        path = (*value.path, *key)
        raise error.changed(key=".".join(path), origin=where(path)) from error


def key_of_file(file: Path | None, tree: Any) -> KeyPath:
    """Return the path of the text in nested values that names this file or folder, or an empty path."""
    texts = [] if file is None else [(path, value) for path, value in walk(tree) if isinstance(value, str)]
    return next((path for path, text in texts if file and Path(text).absolute() == file.absolute()), ())


def _is_plain(default: Any) -> bool:
    """Return whether a default of an argument can be written in a configuration."""
    if default is inspect.Parameter.empty:
        return False
    known = (str, int, float, Enum, Path, set, frozenset, dict, list, tuple)
    return all(
        value is None or isinstance(value, known) or (is_dataclass(value) and not isinstance(value, type))
        for _, value in walk(default)
    )


def _as_json(value: Any) -> Any:
    """Return a value that JSON does not know as one that it knows."""
    if isinstance(value, Namespace):
        return vars(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value.name if isinstance(value, Enum) else str(value)
