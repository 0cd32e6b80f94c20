"""Check of a configuration against the type hints of the classes that it names, before anything is built.

Every mistake names its key path, the file that sets the key and the nearest valid name. A ``class_path`` is accepted
only where a type hint asks for a class, so a configuration from a stranger cannot run code of its choosing.
"""

from __future__ import annotations

import copy
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from spectron.config.building import Checked, Items, Leaf, Part
from spectron.config.class_syntax import wrong_by_syntax
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
from spectron.config.composition import Composition
from spectron.config.nested import KeyPath, keys, walk
from spectron.config.user_classes import NoSuchClass, announce, code_outside_packages, is_reference
from spectron.errors import ConfigError, UntrustedCodeError, did_you_mean, nearest
from spectron.ranges import outside

PART_KEYS = ("class_path", "init_args")
RUNS_CODE = "remote_code"  # the argument of a part that lets its `source` bring Python code
MAPPINGS = (dict, Mapping, get_origin(Mapping[str, int]))
UNCHECKED = object()  # as a type hint: any value, which is used as it is


@dataclass(frozen=True)
class Fixed:
    """Argument that must keep its value.

    Args:
        values: The value, and others with the same meaning.
        reason: Why it cannot have another one, and what to do.
    """

    values: tuple[Any, ...]
    reason: str

    def allows(self, value: Any) -> bool:
        """Return whether a value is one of ``values``; the whole number 1 is not the fraction 1.0."""
        return any(type(value) is type(one) and value == one for one in self.values)


@dataclass(frozen=True)
class ArgumentsOf:
    """As a type hint: the arguments of a class.

    Args:
        cls: The class.
        refused: Arguments that cannot be set, and for each why not and what to do.
        fixed: Arguments that must keep their value.
        hints: Type hints instead of those of the class.
    """

    cls: type
    refused: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Fixed] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)

    def accepted(self) -> dict[str, Parameter]:
        """Return the arguments that can be set."""
        return {
            name: Parameter(self.hints[name], parameter.default) if name in self.hints else parameter
            for name, parameter in parameters(self.cls).items()
            if name not in self.refused
        }


@dataclass
class Checker:
    """Check of values along type hints.

    Args:
        composition: The configuration, which knows the file that sets a key.
        examine: Returns what is wrong with an object of a user's class once it is built, or None.

    Raises:
        ConfigError: from every method, with key, origin and the allowed names.
    """

    composition: Composition
    examine: Callable[[Any], str | None] = lambda built: None

    @property
    def where(self) -> Callable[[KeyPath], str]:
        """Return the function that returns the file that sets a key."""
        return self.composition.where

    def arguments(
        self, values: Any, accepted: Mapping[str, Parameter], path: KeyPath, owner: str
    ) -> dict[str, Checked]:
        """Check the arguments of ``owner``: all names known, none missing, each value of its type."""
        if not isinstance(values, dict):
            raise self.error(path, f"{owner} expects keys and values, got {values!r}")
        for key in values:
            if key not in accepted:
                raise self.error((*path, key), f"{owner} takes no `{key}`. {did_you_mean(key, accepted)}", accepted)
        if values.get(RUNS_CODE):
            self._require_trust((*path, RUNS_CODE), f"`{owner}` would run Python code of the folder in `source`")
        checked: dict[str, Checked] = {}
        for key, parameter in accepted.items():
            if key in values and values[key] is None and parameter.default is None:
                checked[key] = Leaf((*path, key), None)
            elif key in values:
                checked[key] = self.value(values[key], parameter.hint, (*path, key))
                self._require_in_range(checked[key], parameter.declared)
        for name, parameter in accepted.items():
            if parameter.required and name not in values:
                kind = "" if parameter.hint is inspect.Parameter.empty else f" ({shown(parameter.hint)})"
                raise self.error((*path, name), f"{owner} needs `{name}`{kind}, and nothing gives it")
        return checked

    def value(self, value: Any, hint: Any, path: KeyPath) -> Checked:
        """Check one value against a type hint, descending into parts, dataclasses, dicts and lists."""
        if hint is UNCHECKED:
            return Leaf(path, value)
        if isinstance(value, str) and "${" in value and self.where(path) in self.composition.stored:
            message = f"the value was not stored: it is {value}. Override the key: {'.'.join(path)}=VALUE"
            raise self.error(path, message)
        if isinstance(hint, ArgumentsOf):
            for key, given in value.items() if isinstance(value, dict) else ():
                if key in hint.refused:
                    raise self.error((*path, key), hint.refused[key])
                if key in hint.fixed and not hint.fixed[key].allows(given):
                    kept = [json.dumps(one) for one in hint.fixed[key].values]
                    raise self.error((*path, key), f"{hint.fixed[key].reason} (got {given!r})", tuple(kept))
            return self._settings(value, hint.cls, path, hint.accepted())
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
        if value is not None and all(is_dataclass(option) or option is type(None) for option in options):
            raise self.error(path, f"expects the keys and values of {shown(hint)}, got {value!r}")
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
        if code := code_outside_packages(class_path, [Path(self.where(path)).parent]):
            self._require_trust(path, f"`{class_path}` would run the code of {code}", code)
            bases = [hint.base for hint in hints]
            structural = any(getattr(base, "_is_protocol", False) for base in bases)
            if is_reference(class_path) and not structural:
                wrong = wrong_by_syntax(code, class_path.rpartition(":")[2], bases)
                if wrong is not None:
                    kind = "" if wrong.endswith("`") else f" and is not a {wanted}"
                    raise self.error(path, f"{wrong}{kind}. {nearest_class(class_path, hints)}".rstrip())
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

    def _require_in_range(self, checked: Checked, declared: Any) -> None:
        """Refuse a number outside its range, and any NaN or infinity; a part has checked its own arguments."""
        if declared is not None and (found := outside(checked.plain(), declared)):
            raise self.error((*checked.path, *found.path), str(found), (str(found.range),))
        for leaf in leaves_of(checked):
            for place, value in walk(leaf.value):
                if isinstance(value, float) and not math.isfinite(value):
                    raise self.error((*leaf.path, *place), f"must be a finite number, got {value}")

    def error(self, path: KeyPath, message: str, allowed: Mapping[str, Any] | tuple[str, ...] = ()) -> ConfigError:
        """Return a ConfigError with key, origin and the allowed names."""
        return ConfigError(message, key=".".join(path), origin=self.where(path), allowed=allowed)

    def _require_trust(self, path: KeyPath, what: str, code: Path | None = None) -> None:
        """Refuse code that a stored configuration names, unless it is trusted; announce the user's own."""
        origin = self.where(path)
        if origin in self.composition.stored and not self.composition.trust:
            raise UntrustedCodeError(
                f"{what}, because {origin} says so. Nothing was run. Read the code; if you trust it, allow it with "
                f"{self.composition.allowed_by}",
                key=".".join(path),
                origin=origin,
                file=code,
            )
        if code is not None:
            announce(code)

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

    def _settings(self, value: Any, cls: type, path: KeyPath, accepted: Mapping[str, Parameter]) -> Part:
        """Check the arguments of a class that the configuration does not name."""
        return Part(path, cls, self.arguments(value, accepted, path, cls.__name__), accepted, self.where, named=False)

    def _dataclass(self, value: dict[str, Any], cls: type, path: KeyPath) -> Part:
        """Check the fields of a dataclass, and let the dataclass check their values unless that builds a part."""
        settings = self._settings(value, cls, path, parameters(cls))
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
        options = options_of(hint)
        exact = type(value) in options and isinstance(value, str | int | float | None)
        if exact or hint in (Any, object, inspect.Parameter.empty):
            return Leaf(path, value)
        kind = hint
        if isinstance(value, str):  # jsonargparse would read a dict or a list, and build classes, from a text
            scalars = [
                option for option in options if get_origin(option) in (None, Literal) and not is_dataclass(option)
            ]
            if not scalars or scalars == [type(None)]:
                raise self.error(
                    path, f"expects {shown(hint)}, got the text {value!r}. Write it as YAML, without quotes"
                )
            kind = Union[tuple(scalars)]  # noqa: UP007 - the options are known only now
        parser = ArgumentParser(exit_on_error=False)
        try:
            parser.add_argument("--value", type=kind)
            # A copy: jsonargparse puts objects of its own into the dicts that it is given.
            return Leaf(path, parser.parse_object({"value": copy.deepcopy(value)}).value, parser)
        except (ArgumentError, ValueError, TypeError) as error:
            names = [str(option) for option in get_args(hint)] if get_origin(hint) is Literal else []
            cure = " " + did_you_mean(str(value), names) if names else ""
            raise self.error(path, f"expects {shown(hint)}, got {value!r}.{cure}", tuple(names)) from error


def leaves_of(checked: Checked) -> Iterator[Leaf]:
    """Yield the leaves of a checked value, without those of parts in it."""
    if isinstance(checked, Leaf):
        yield checked
    elif isinstance(checked, Items):
        for child in checked.children():
            yield from leaves_of(child)
