"""Ranges of the numbers in settings, which their type hints declare.

``width: Size`` or ``layers: Annotated[int, Range(1, 1000)]`` states the allowed numbers once. The check of a
configuration reads the range there, and ``checks_ranges`` reads it when Python builds the class. NaN and infinity are
outside every range.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from spectron.errors import ConfigError

Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Range:
    """Range of finite numbers; infinity as a bound means that there is none on this side.

    Args:
        low: Smallest number.
        high: Largest number.
        open_low: Whether ``low`` itself is not allowed.
        open_high: Whether ``high`` itself is not allowed.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, number: float) -> bool:
        """Return whether a number is allowed."""
        if isinstance(number, float) and not math.isfinite(number):
            return False
        reaches = number > self.low if self.open_low else number >= self.low
        return reaches and (number < self.high if self.open_high else number <= self.high)

    def __str__(self) -> str:
        """Return the range in words, such as ``above 0 and at most 1``."""
        low = "" if self.low == -math.inf else f"{'above' if self.open_low else 'at least'} {_shown(self.low)}"
        high = "" if self.high == math.inf else f"{'below' if self.open_high else 'at most'} {_shown(self.high)}"
        return " and ".join(bound for bound in (low, high) if bound) or "finite"


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Proportion = Annotated[float, Range(0, 1)]
# Dropout divides what is left by one minus the fraction, and averages over time with a decay of 1 never move.
BelowOne = Annotated[float, Range(0, 1, open_high=True)]
Seconds = Annotated[float, Range(0, 86_400, open_low=True)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # of numpy's and Lightning's generators
Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
# Sizes of tensors and numbers of layers: a slip of the keyboard should not ask for all memory.
Size = Annotated[int, Range(1, 2**20)]
Layers = Annotated[int, Range(1, 10_000)]
SampleRate = Annotated[int, Range(100, 1_000_000)]


@dataclass(frozen=True)
class Outside:
    """Number outside its range: the path to it within the value, the number and the range."""

    path: tuple[str, ...]
    number: float
    range: Range

    def __str__(self) -> str:
        """Return the message."""
        return f"must be {self.range}, got {self.number}"

    def error(self, key: str) -> ConfigError:
        """Return the error about the argument that holds the number."""
        return ConfigError(str(self), key=".".join((key, *self.path)), allowed=[str(self.range)])


def outside(value: Any, hint: Any) -> Outside | None:
    """Return the first number in a value that is outside the range which the hint declares for it, or None."""
    return next(_all_outside(value, hint, ()), None)


def declares_ranges(hint: Any) -> bool:
    """Return whether a hint declares a range anywhere in it."""
    if get_origin(hint) is Annotated and _range_of(hint) is not None:
        return True
    return any(declares_ranges(argument) for argument in get_args(hint))


def without_ranges(hint: Any) -> Any:
    """Return a hint without the extras of ``Annotated`` anywhere in it."""
    return get_type_hints(types.SimpleNamespace(__annotations__={"hint": hint}))["hint"]


@functools.cache
def range_hints(function: Any) -> dict[str, Any]:
    """Return the hints of the arguments of a function that declare ranges; of anything else, nothing."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # a class of another package, with hints for type checkers alone
        return {}
    return {name: hint for name, hint in hints.items() if declares_ranges(hint)}


def checks_ranges(cls: Class) -> Class:
    """Let the constructor of a class refuse arguments outside their ranges.

    Raises:
        ConfigError: from the constructor, with the argument as its key and the range as ``allowed``.
    """
    construct = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def construct_checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given = signature.bind(self, *args, **kwargs).arguments
        except TypeError:  # the constructor itself explains wrong arguments
            given = {}
        for name, hint in range_hints(construct).items():
            if name in given and (found := outside(given[name], hint)):
                raise found.error(name)
        construct(self, *args, **kwargs)

    cls.__init__ = construct_checked  # type: ignore[misc]
    return cls


def _all_outside(value: Any, hint: Any, path: tuple[str, ...]) -> Iterator[Outside]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        number, allowed = _is_number(value), _range_of(hint)
        if number and allowed is not None and value not in allowed:
            yield Outside(path, value, allowed)
        elif not number:
            yield from _all_outside(value, arguments[0], path)
    elif origin in (Union, types.UnionType):
        for option in _options_for(value, arguments):
            yield from _all_outside(value, option, path)
    elif isinstance(value, Mapping) and len(arguments) == 2:
        for key, item in value.items():
            yield from _all_outside(item, arguments[1], (*path, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, str) and arguments:
        hints = arguments if len(arguments) == len(value) and ... not in arguments else [arguments[0]] * len(value)
        for place, (item, item_hint) in enumerate(zip(value, hints, strict=True)):
            yield from _all_outside(item, item_hint, (*path, str(place)))


def _options_for(value: Any, options: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the options of a union that a value belongs to: a whole number is no fraction if both are options."""
    if not _is_number(value):
        return options
    kind = int if isinstance(value, Integral) else float
    exact = tuple(option for option in options if get_origin(option) is Annotated and get_args(option)[0] is kind)
    return exact or options


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _range_of(hint: Any) -> Range | None:
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Range)), None)


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
