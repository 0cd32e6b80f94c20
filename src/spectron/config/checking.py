"""Check of a configuration against the type hints of the classes that it names, before anything is built.

Every mistake names its key path, the file that sets the key and the nearest valid name. A ``class_path`` is accepted
only where a type hint asks for a class, so a configuration from a stranger cannot run code of its choosing.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from spectron.config.building import Checked, Items, Leaf, Part
from spectron.config.classes import (
    CALLABLE,
    Parameter,
    PartHint,
    import_class,
    nearest_class,
    options_of,
    parameters,
    part_hints,
    shown,
)
from spectron.config.nested import KeyPath, keys
from spectron.config.user_classes import NoSuchClass
from spectron.errors import ConfigError, did_you_mean, nearest

PART_KEYS = ("class_path", "init_args")
MAPPINGS = (dict, Mapping, get_origin(Mapping[str, int]))
UNCHECKED = object()  # as a type hint: any value, which is used as it is


@dataclass(frozen=True)
class ArgumentsOf:
    """As a type hint: the arguments of a class.

    Args:
        cls: The class.
        without: Arguments that cannot be set.
        reason: Why they cannot be set, and what to do.
    """

    cls: type
    without: frozenset[str] = frozenset()
    reason: str = ""


@dataclass
class Checker:
    """Check of values along type hints.

    Args:
        where: Returns the file that sets a key.
        examine: Returns what is wrong with an object of a user's class once it is built, or None.

    Raises:
        ConfigError: from every method, with key, origin and the allowed names.
    """

    where: Callable[[KeyPath], str]
    examine: Callable[[Any], str | None] = lambda built: None

    def arguments(
        self, values: Any, accepted: Mapping[str, Parameter], path: KeyPath, owner: str
    ) -> dict[str, Checked]:
        """Check the arguments of ``owner``: all names known, none missing, each value of its type."""
        if not isinstance(values, dict):
            raise self.error(path, f"{owner} expects keys and values, got {values!r}")
        for key in values:
            if key not in accepted:
                raise self.error((*path, key), f"{owner} takes no `{key}`. {did_you_mean(key, accepted)}", accepted)
        checked: dict[str, Checked] = {}
        for key, parameter in accepted.items():
            if key in values and values[key] is None and parameter.default is None:
                checked[key] = Leaf((*path, key), None)
            elif key in values:
                checked[key] = self.value(values[key], parameter.hint, (*path, key))
        for name, parameter in accepted.items():
            if parameter.required and name not in values:
                kind = "" if parameter.hint is inspect.Parameter.empty else f" ({shown(parameter.hint)})"
                raise self.error((*path, name), f"{owner} needs `{name}`{kind}, and nothing gives it")
        return checked

    def value(self, value: Any, hint: Any, path: KeyPath) -> Checked:
        """Check one value against a type hint, descending into parts, dataclasses, dicts and lists."""
        if hint is UNCHECKED:
            return Leaf(path, value)
        if isinstance(hint, ArgumentsOf):
            for key in hint.without.intersection(value if isinstance(value, dict) else ()):
                raise self.error((*path, key), hint.reason)
            return self._settings(value, hint.cls, path, hint.without)
        options, parts = options_of(hint), part_hints(hint)
        for option in options:
            kind = get_origin(option)
            if isinstance(value, dict) and "class_path" not in value:
                if is_dataclass(option) and isinstance(option, type):
                    return self._dataclass(value, option, path)
                if kind in MAPPINGS:
                    return Items(path, self._items(value, get_args(option)[1], path))
            if isinstance(value, list) and kind is list:
                numbered = {str(number): item for number, item in enumerate(value)}
                return Items(path, list(self._items(numbered, get_args(option)[0], path).values()))
        if value is None and type(None) not in options and hint not in (Any, object, inspect.Parameter.empty):
            raise self.error(path, f"expects {shown(hint)}, got null")
        words = [option for option in options if get_origin(option) is Literal]
        if parts and words and isinstance(value, str) and value.isidentifier():  # a word, and no path of a class
            return self._leaf(value, words[0], path)
        if parts and value is not None and not (isinstance(value, str) and str in options):
            if isinstance(value, str | dict):
                return self.part(value, parts, path)
            raise self.error(path, f"expects a class_path of a {shown(hint)}, got {value!r}")
        return self._leaf(value, hint, path)

    def part(self, value: str | dict[str, Any], hints: list[PartHint], path: KeyPath) -> Part:
        """Check ``{class_path, init_args}``, or a class path alone, against the classes that are asked for."""
        spec = {"class_path": value} if isinstance(value, str) else value
        cls, hint = self.kind(spec.get("class_path"), hints, (*path, "class_path"))
        accepted = parameters(cls, len(hint.supplied))
        for key in spec:
            if key not in PART_KEYS:
                cure = (
                    f"Write it under `init_args`: {'.'.join((*path, 'init_args', key))}"
                    if key in accepted
                    else did_you_mean(key, PART_KEYS)
                )
                raise self.error((*path, key), f"next to class_path, only init_args is allowed. {cure}", PART_KEYS)
        arguments = self.arguments(spec.get("init_args") or {}, accepted, (*path, "init_args"), cls.__name__)
        return Part(path, cls, arguments, accepted, self.where, True, bool(hint.supplied), self.examine)

    def kind(self, class_path: Any, hints: list[PartHint], path: KeyPath) -> tuple[type, PartHint]:
        """Return the class of a path, which must be one of those that are asked for, and the hint that it fits."""
        wanted = " or ".join(hint.base.__name__ for hint in hints)
        if not isinstance(class_path, str):
            expected = f"expects the dotted path of a {wanted}, got {class_path!r}."
            raise self.error(path, f"{expected} {nearest_class('', hints)}".rstrip())
        try:
            cls = import_class(class_path)
        except NoSuchClass as error:
            message = f"{error.message}. {nearest_class(class_path, hints)}".rstrip()
            raise self.error(path, message) from error
        except ConfigError as error:
            raise error.within(".".join(path), self.where(path)) from error.__cause__
        hint = next((hint for hint in hints if issubclass(cls, hint.base)), None)
        if hint is None:
            raise self.error(path, f"`{class_path}` is not a {wanted}. {nearest_class(class_path, hints)}".rstrip())
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise self.error(path, f"`{class_path}` cannot be built: it does not define {missing}")
        self._require_positional(cls, hint, path)
        return cls, hint

    def error(self, path: KeyPath, message: str, allowed: Mapping[str, Any] | tuple[str, ...] = ()) -> ConfigError:
        """Return a ConfigError with key, origin and the allowed names."""
        return ConfigError(message, key=".".join(path), origin=self.where(path), allowed=allowed)

    def _require_positional(self, cls: type, hint: PartHint, path: KeyPath) -> None:
        """Refuse a class that cannot take the arguments which the platform gives."""
        try:
            inspect.signature(cls).bind_partial(*hint.supplied)
        except TypeError as error:
            given = ", ".join(shown(kind) for kind in hint.supplied)
            message = f"the constructor of {cls.__name__} must take {given} as its first argument ({error})"
            raise self.error(path, message) from error
        except ValueError:  # a class without a signature, which Python cannot look into
            return

    def _settings(self, value: Any, cls: type, path: KeyPath, without: frozenset[str] = frozenset()) -> Part:
        """Check the arguments of a class that the configuration does not name."""
        accepted = {name: parameter for name, parameter in parameters(cls).items() if name not in without}
        return Part(path, cls, self.arguments(value, accepted, path, cls.__name__), accepted, self.where, named=False)

    def _dataclass(self, value: dict[str, Any], cls: type, path: KeyPath) -> Part:
        """Check the fields of a dataclass, and let the dataclass check their values unless that builds a part."""
        settings = self._settings(value, cls, path)
        if not any(True for _ in settings.parts()):
            settings.build()
        return settings

    def _items(self, items: dict[str, Any], hint: Any, path: KeyPath) -> dict[str, Checked]:
        parts = part_hints(hint)
        for key, item in items.items():
            change = parts and isinstance(item, dict) and "class_path" not in item
            # Most likely a change of an entry whose name is misspelt.
            if change and (near := nearest(key, (other for other in items if other != key))):
                message = f"there is no `{key}` to change, and a new one needs a class_path. Did you mean `{near}`?"
                raise self.error((*path, key), message, tuple(items))
        return {key: self.value(item, hint, (*path, key)) for key, item in items.items()}

    def _leaf(self, value: Any, hint: Any, path: KeyPath) -> Leaf:
        """Check a plain value; no class may be named in it."""
        if "class_path" in keys(value):
            raise self.error(path, f"no class can be built here: {shown(hint)} is expected")
        # jsonargparse would import a function for the dotted path of a Callable; a configuration names no functions.
        if get_origin(hint) in (Callable, CALLABLE) and value is not None:
            raise self.error(path, f"this can only be set from Python, got {value!r}")
        exact = type(value) in options_of(hint) and isinstance(value, str | int | float | None)
        if exact or hint in (Any, object, inspect.Parameter.empty):
            return Leaf(path, value)
        parser = ArgumentParser(exit_on_error=False)
        try:
            parser.add_argument("--value", type=hint)
            # A copy: jsonargparse puts objects of its own into the dicts that it is given.
            return Leaf(path, parser.parse_object({"value": copy.deepcopy(value)}).value, parser)
        except (ArgumentError, ValueError, TypeError) as error:
            names = [str(option) for option in get_args(hint)] if get_origin(hint) is Literal else []
            cure = " " + did_you_mean(str(value), names) if names else ""
            raise self.error(path, f"expects {shown(hint)}, got {value!r}.{cure}", tuple(names)) from error
