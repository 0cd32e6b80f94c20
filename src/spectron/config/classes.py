"""Classes that a configuration names: their import, their arguments, and the type hints that ask for them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

# No public function of jsonargparse lists the arguments of a class with those that **kwargs passes to a base class.
# pyproject.toml limits jsonargparse to tested versions.
from jsonargparse._parameter_resolvers import get_signature_parameters

import spectron
from spectron.config.user_classes import NoSuchClass, is_reference, load_class, reference_of
from spectron.errors import ConfigError, did_you_mean, nearest
from spectron.ranges import declares_ranges, range_hints, without_ranges

LIBRARIES = ("spectron", "torch", "lightning", "transformers", "torchmetrics")
CALLABLE = get_origin(Callable[[int], int])
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass
class Parameter:
    """An argument of a class.

    Args:
        hint: Its type. If that declares ranges, they move to the attribute ``declared``.
        default: Its default; ``inspect.Parameter.empty`` if it has none.

    Attributes:
        declared: The type with the ranges of its numbers; None if it has no ranges.
    """

    hint: Any
    default: Any = inspect.Parameter.empty
    declared: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        if declares_ranges(self.hint):
            self.declared, self.hint = self.hint, without_ranges(self.hint)

    @property
    def required(self) -> bool:
        """Return whether the argument has no default."""
        return self.default is inspect.Parameter.empty


@dataclass
class PartHint:
    """A type hint that asks for an object of ``base``; the platform gives the first ``supplied`` arguments."""

    base: type
    supplied: tuple[Any, ...] = ()


@cache
def parameters(cls: type, supplied: int = 0) -> dict[str, Parameter]:
    """Return the arguments of a class by name, without the first ``supplied`` positional ones."""
    named = [p for p in get_signature_parameters(cls, logger=False) if p.kind not in _VARIADIC]
    # Some annotations come without their ranges. They are read from the function that has the argument, because
    # **kwargs may pass it to another constructor.
    return {p.name: Parameter(range_hints(p.component).get(p.name, p.annotation), p.default) for p in named[supplied:]}


def import_class(class_path: str) -> type:
    """Return the class of a dotted path, or of ``file.py:Class``.

    Raises:
        NoSuchClass: if the name is wrong.
        ConfigError: if the module or file of the class cannot be imported.
    """
    if is_reference(class_path):
        return load_class(class_path)
    if class_path.endswith(".py"):
        raise ConfigError(
            f"`{class_path}` names a file, and no class in it. Write file.py:Class, such as `{class_path}:MyEncoder`."
        )
    module_name, _, name = class_path.rpartition(".")
    if not module_name:
        raise NoSuchClass(
            f"`{class_path}` is not the dotted path of a class, such as package.module.{class_path or 'Class'}"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise NoSuchClass(
                f"there is no module `{error.name}`: not installed, and neither in the YAML's nor in the current folder"
            ) from error
        raise ConfigError(f"`{class_path}`: importing {module_name} failed: {error}.") from error
    except Exception as error:  # whatever a user's module raises while it is imported
        raise ConfigError(
            f"`{class_path}`: importing {module_name} failed: {type(error).__name__}: {error}."
        ) from error
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        raise NoSuchClass(f"`{module_name}` has no class `{name}`")
    return cls


def options_of(hint: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, or the hint alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def part_hints(hint: Any) -> list[PartHint]:
    """Return the classes that a hint asks for: ``Encoder`` of ``Encoder | None``, or of a callable that returns it."""
    if len(options_of(hint)) > 1:
        return [part for option in options_of(hint) for part in part_hints(option)]
    if get_origin(hint) is Annotated:
        return part_hints(get_args(hint)[0])
    if get_origin(hint) in (Callable, CALLABLE) and len(get_args(hint)) == 2:
        arguments, result = get_args(hint)
        given = tuple(arguments) if isinstance(arguments, list) else None
        return [] if given is None else [PartHint(part.base, given) for part in part_hints(result)]
    if isinstance(hint, type) and get_origin(hint) is None and not is_dataclass(hint) and not issubclass(hint, Enum):
        return [] if hint.__module__.split(".")[0] in sys.stdlib_module_names else [PartHint(hint)]
    return []


def shown(hint: Any) -> str:
    """Return a type hint as users read it."""
    if len(options_of(hint)) > 1:
        return " or ".join(shown(option) for option in options_of(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if hint is type(None):
        return "null"
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")


def nearest_class(class_path: str, hints: list[PartHint]) -> str:
    """Return a sentence with the class nearest to a wrong one, among those of the right kind that can be built."""
    for package in pkgutil.iter_modules(spectron.__path__, "spectron."):
        if package.ispkg:  # so that Spectron's own classes are known, whatever has been imported so far
            importlib.import_module(package.name)
    found: list[type] = [hint.base for hint in hints]
    for cls in found:
        subclasses: list[type] = cls.__subclasses__()
        found += [sub for sub in subclasses if sub not in found]
    # Names without their packages are compared: the packages would outweigh the names.
    public = {
        cls.__name__: public_path(cls)
        for cls in found
        if not inspect.isabstract(cls) and "<locals>" not in cls.__qualname__
    }
    # Tables print a metric under its label, so a user may write the label.
    label_of = {cls.__name__: getattr(getattr(cls, "label", None), "name", None) for cls in found}
    named = {label: public[name] for name, label in label_of.items() if label and name in public} | public
    close = nearest(re.split(r"[.:]", class_path)[-1], named)
    if close:
        return f"Did you mean `{named[close]}`?"
    return did_you_mean("", public.values()) if public else ""


def public_path(cls: type) -> str:
    """Return the name of a class in a YAML: the shortest dotted path under which it can be imported, or its file."""
    if reference := reference_of(cls):
        return reference
    names = cls.__module__.split(".")
    for length in range(1, len(names)):
        package = ".".join(names[:length])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            return f"{package}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__name__}"


def is_users_own(cls: type) -> bool:
    """Return whether a class belongs neither to Spectron nor to a library that was installed with it."""
    module = cls.__module__.split(".")[0]
    return module not in LIBRARIES and module not in sys.stdlib_module_names
