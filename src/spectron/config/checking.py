"""Checks a configuration against the type hints of the classes it names, before anything is built.

jsonargparse builds the objects and would find most of these mistakes too; walking the hints first gives every mistake its exact
key path, the file that says it and the nearest valid name, and lets a ``class_path`` stand only where a type hint asks for a
class: a configuration from a stranger cannot have code of its choosing run.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

# Not part of jsonargparse's documented interface, hence the exact pin: it also follows **kwargs to the class that takes them.
from jsonargparse._parameter_resolvers import get_signature_parameters

import spectron
from spectron.config.composition import KeyPath
from spectron.config.user_classes import is_reference, load_class, reference_of
from spectron.errors import ConfigError, did_you_mean

PART_KEYS = ("class_path", "init_args")


@dataclass
class Parameter:
    """An argument that a class takes; ``default`` is ``inspect.Parameter.empty`` where it has none."""

    hint: Any
    default: Any = inspect.Parameter.empty


@dataclass
class PartHint:
    """A type hint that asks for an object of ``base``, the first ``supplied`` arguments of which the platform gives."""

    base: type
    supplied: int = 0


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@cache
def parameters(cls: type, supplied: int = 0) -> dict[str, Parameter]:
    """Arguments of a class by name, without the first ``supplied`` positional ones."""
    named = [p for p in get_signature_parameters(cls, logger=False) if p.kind not in _VARIADIC]
    return {p.name: Parameter(p.annotation, p.default) for p in named[supplied:]}


def import_class(class_path: str) -> type:
    """The class of a dotted path, or of ``file.py:Class``.

    Raises:
        ConfigError: if there is none; whoever knows the key path and the classes that fit completes the message.
    """
    if is_reference(class_path):
        return load_class(class_path)
    if class_path.endswith(".py"):
        raise ConfigError(
            f"`{class_path}` names a file, and no class in it. Write file.py:Class, such as `{class_path}:MyEncoder`."
        )
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise ConfigError(
            f"`{class_path}` is not the dotted path of a class, such as package.module.{class_path or 'Class'}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise ConfigError(f"`{class_path}`: importing {module_name} failed: {error}.") from error
        missing = (
            f"there is no module `{error.name}` among the installed ones, in the YAML's folder or in the current one"
        )
        raise ConfigError(missing) from error
    except Exception as error:  # whatever a user's module raises while it is imported
        raise ConfigError(
            f"`{class_path}`: importing {module_name} failed: {type(error).__name__}: {error}."
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ConfigError(f"`{module_name}` has no class `{name}`")
    return found


def part_hints(hint: Any) -> list[PartHint]:
    """The classes that a hint asks for: of ``Encoder | None``, ``Encoder``; of ``Callable[[int], Head]``, ``Head``."""
    if get_origin(hint) in (Union, types.UnionType):
        return [part for option in get_args(hint) for part in part_hints(option)]
    if get_origin(hint) is Annotated:
        return part_hints(get_args(hint)[0])
    if get_origin(hint) in (Callable, _CALLABLE) and len(get_args(hint)) == 2:
        arguments, result = get_args(hint)
        return (
            [PartHint(part.base, len(arguments)) for part in part_hints(result)] if isinstance(arguments, list) else []
        )
    if isinstance(hint, type) and get_origin(hint) is None and not is_dataclass(hint) and not issubclass(hint, Enum):
        return [] if hint.__module__.split(".")[0] in sys.stdlib_module_names else [PartHint(hint)]
    return []


_CALLABLE = get_origin(Callable[[int], int])


@dataclass
class Checker:
    """Walks values along type hints; ``where`` tells which file says a key.

    Raises:
        ConfigError: from every method, with key path, file and cure.
    """

    where: Callable[[KeyPath], str]

    def arguments(
        self, values: Any, accepted: Mapping[str, Parameter], path: KeyPath, owner: str, known: Iterable[str] = ()
    ) -> None:
        """Check a mapping of arguments: all known, none missing (``known`` are given elsewhere), each of its type."""
        if not isinstance(values, dict):
            raise self.error(path, f"{owner} expects keys and values, got {values!r}")
        for key in {**values, **dict.fromkeys(known)}:
            if key not in accepted:
                raise self.error((*path, key), f"{owner} takes no `{key}`. {did_you_mean(key, accepted)}")
        for key, value in values.items():
            if value is not None or accepted[key].default is not None:
                self.value(value, accepted[key].hint, (*path, key))
        for name, parameter in accepted.items():
            if parameter.default is inspect.Parameter.empty and name not in values and name not in known:
                kind = "" if parameter.hint is inspect.Parameter.empty else f" ({shown(parameter.hint)})"
                raise self.error((*path, name), f"{owner} needs `{name}`{kind}, and nothing gives it")

    def value(self, value: Any, hint: Any, path: KeyPath) -> None:
        """Check one value against a type hint, descending into parts, dataclasses, dicts and lists."""
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        parts = part_hints(hint)
        if isinstance(value, dict) and "class_path" not in value:
            for option in options:
                if is_dataclass(option) and isinstance(option, type):
                    return self.settings(value, option, path)
                if get_origin(option) in (dict, _MAPPING):
                    return self._items({str(key): item for key, item in value.items()}, get_args(option)[1], path)
        if isinstance(value, list):
            for option in options:
                if get_origin(option) is list:
                    return self._items(
                        {str(index): item for index, item in enumerate(value)}, get_args(option)[0], path
                    )
        if value is None and type(None) not in options and hint not in (Any, object, inspect.Parameter.empty):
            raise self.error(path, f"expects {shown(hint)}, got null")
        if parts and value is not None and not (isinstance(value, str) and str in options):
            if isinstance(value, str | dict):
                return self.part(value, parts, path)
            raise self.error(path, f"expects a class_path of a {shown(hint)}, got {value!r}")
        return self.leaf(value, hint, path)

    def settings(self, value: dict[str, Any], cls: type, path: KeyPath) -> None:
        """Check the fields of a dataclass, and then their values with the dataclass' own eyes."""
        self.arguments(value, parameters(cls), path, cls.__name__)
        if "class_path" not in _keys(value):  # a part inside it is for building only
            parser = ArgumentParser(exit_on_error=False)
            parser.add_argument("--value", type=cls)
            try:
                parser.instantiate(parser.parse_object({"value": copy.deepcopy(value)}))
            except ValueError as error:
                raise self.error(path, f"{cls.__name__}: {error}") from error

    def part(self, value: str | dict[str, Any], hints: list[PartHint], path: KeyPath) -> None:
        """Check ``{class_path, init_args}``, or a class path alone, against the classes asked for."""
        spec = {"class_path": value} if isinstance(value, str) else value
        cls, hint = self.kind(spec.get("class_path"), hints, (*path, "class_path"))
        accepted = parameters(cls, hint.supplied)
        for key in spec:
            if key not in PART_KEYS:
                cure = (
                    f"Write it under `init_args`: {'.'.join((*path, 'init_args', key))}"
                    if key in accepted
                    else did_you_mean(key, PART_KEYS)
                )
                raise self.error((*path, key), f"beside class_path only init_args may stand. {cure}")
        self.arguments(spec.get("init_args") or {}, accepted, (*path, "init_args"), cls.__name__)

    def kind(self, class_path: Any, hints: list[PartHint], path: KeyPath) -> tuple[type, PartHint]:
        """The class of a path, which has to be one of those asked for, and the hint that it fits."""
        wanted = " or ".join(hint.base.__name__ for hint in hints)
        if not isinstance(class_path, str):
            raise self.error(
                path, f"expects the dotted path of a {wanted}, got {class_path!r}. {_nearest_part('', hints)}".rstrip()
            )
        try:
            cls = import_class(class_path)
        except ConfigError as error:
            # In whole sentences it holds its cure; otherwise the name is wrong, and the nearest right one is the cure.
            told = (
                str(error)
                if str(error).endswith((".", "?"))
                else f"{error}. {_nearest_part(class_path, hints)}".rstrip()
            )
            raise self.error(path, told) from error.__cause__
        hint = next((hint for hint in hints if issubclass(cls, hint.base)), None)
        if hint is None:
            raise self.error(path, f"`{class_path}` is not a {wanted}. {_nearest_part(class_path, hints)}".rstrip())
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise self.error(path, f"`{class_path}` cannot be built: it does not define {missing}")
        return cls, hint

    def leaf(self, value: Any, hint: Any, path: KeyPath) -> None:
        """Check a plain value; nothing that could build an object may hide in it."""
        if "class_path" in _keys(value):
            raise self.error(path, f"no class can be built here: {shown(hint)} is expected")
        # jsonargparse imports a function for a dotted path given to a Callable; functions have no place in a configuration.
        if get_origin(hint) in (Callable, _CALLABLE) and value is not None:
            raise self.error(path, f"this can only be set from Python, got {value!r}")
        if hint is inspect.Parameter.empty:
            return
        parser = ArgumentParser(exit_on_error=False)
        try:
            parser.add_argument("--value", type=hint)
            parser.parse_object({"value": copy.deepcopy(value)})
        except (ArgumentError, ValueError, TypeError) as error:
            names = [str(option) for option in get_args(hint)] if get_origin(hint) is Literal else []
            cure = " " + did_you_mean(str(value), names) if names else ""
            raise self.error(path, f"expects {shown(hint)}, got {value!r}.{cure}") from error

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """A ConfigError with key path and file."""
        return ConfigError(f"{'.'.join(path)}: {message} (in {self.where(path)})")

    def _items(self, items: dict[str, Any], hint: Any, path: KeyPath) -> None:
        parts = part_hints(hint)
        for key, item in items.items():
            if parts and isinstance(item, dict) and "class_path" not in item:
                # Most likely a change of an entry whose name was misspelt.
                near = difflib.get_close_matches(key, [other for other in items if other != key], n=1)
                if near:
                    told = f"there is no `{key}` to change, and a new one needs a class_path. Did you mean `{near[0]}`?"
                    raise self.error((*path, key), told)
            self.value(item, hint, (*path, key))


_MAPPING = get_origin(Mapping[str, int])


def shown(hint: Any) -> str:
    """A type hint as a user reads it."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(shown(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if hint is type(None):
        return "null"
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")


def _keys(value: Any) -> set[str]:
    """All keys of nested dicts and lists."""
    if isinstance(value, dict):
        return {str(key) for key in value} | {key for item in value.values() for key in _keys(item)}
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


def _nearest_part(class_path: str, hints: list[PartHint]) -> str:
    """The class nearest to a wrong one, among those of the right kind that can be built."""
    for package in pkgutil.iter_modules(spectron.__path__, "spectron."):
        if package.ispkg:  # so that the platform's own parts are known, whatever has been imported so far
            importlib.import_module(package.name)
    found: list[type] = [hint.base for hint in hints]
    for cls in found:
        found += [sub for sub in _subclasses(cls) if sub not in found]
    # Bare names are compared: a likeness of the packages in front would drown the name's own.
    public = {
        cls.__name__: _public_path(cls)
        for cls in found
        if not inspect.isabstract(cls) and "<locals>" not in cls.__qualname__
    }
    # Tables call a metric by its label, and so may whoever has read one.
    label_of = {cls.__name__: getattr(getattr(cls, "label", None), "name", None) for cls in found}
    labels = {label: public[name] for name, label in label_of.items() if label and name in public}
    wanted, named = re.split(r"[.:]", class_path)[-1], labels | public
    close = difflib.get_close_matches(wanted, named, n=1)
    return (
        f"Did you mean `{named[close[0]]}`?"
        if close
        else (public and f"There are: {', '.join(sorted(public.values())[:12])}.") or ""
    )


def _subclasses(cls: type) -> list[type]:
    return cls.__subclasses__()


def _public_path(cls: type) -> str:
    """What names a class in a YAML: the shortest dotted path under which it can be imported, or its file."""
    if reference := reference_of(cls):
        return reference
    names = cls.__module__.split(".")
    for length in range(1, len(names)):
        package = ".".join(names[:length])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"
