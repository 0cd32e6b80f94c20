"""Schemas of the JSON files that Spectron stores: a damaged file is refused by the path of its first wrong value.

A schema is a function of a value that yields what is wrong in it. Keys that a schema does not name are accepted: a
later version may store more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from spectron.errors import DataError
from spectron.text_files import read_json, read_json_lines

MISSING = object()  # as the wrong value: the key is not there
LARGEST = 1e100  # sums and differences of some such numbers are finite, too
DEEPEST = 50  # levels of nested values
SHOWN = 60  # characters of a wrong value in a message


class Wrong(NamedTuple):
    """Wrong value: its path, and what it should be."""

    path: tuple[str, ...]
    value: Any
    should: str


Schema = Callable[[Any], Iterator[Wrong]]
NOTHING: Mapping[str, Schema] = {}


def read_stored(path: Path, schema: Schema, cure: str) -> Any:
    """Return the content of a stored JSON file.

    Args:
        path: The file.
        schema: What it contains.
        cure: What to do with a damaged file, as a sentence.

    Raises:
        DataError: if the file is missing, unreadable, no JSON, or does not match the schema.
    """
    try:
        content = read_json(path)
    except DataError as error:
        raise error.changed(message=f"{error.message}. {cure}") from error
    require(content, schema, str(path), path, cure)
    return content


def read_stored_lines(path: Path, schema: Schema, cure: str) -> Iterator[Any]:
    """Yield the objects of a stored file with one JSON object per line; as ``read_stored``."""
    try:
        for where, content in read_json_lines(path):
            require(content, schema, where, path, cure)
            yield content
    except DataError as error:
        raise error if cure in error.message else error.changed(message=f"{error.message}. {cure}") from error


def require(content: Any, schema: Schema, where: str, file: Path, cure: str) -> None:
    """Refuse a stored value that does not match its schema.

    Raises:
        DataError: with the place, the path, the value and what it should be.
    """
    wrong = next(chain(_too_deep(content), schema(content)), None)
    if wrong is None:
        return
    path = ".".join(wrong.path)
    if wrong.value is MISSING:
        raise DataError(f"{where} has no {path}. {cure}", file=file)
    shown = ascii(wrong.value)
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
    raise DataError(f"{where}{': ' if path else ''}{path} is {shown}, but should be {wrong.should}. {cure}", file=file)


def text(value: Any) -> Iterator[Wrong]:
    """Accept any text."""
    if not isinstance(value, str):
        yield Wrong((), value, "text")


def name(value: Any) -> Iterator[Wrong]:
    """Accept text that can be a path."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        yield Wrong((), value, "text, not empty and without control characters")


def flag(value: Any) -> Iterator[Wrong]:
    """Accept true and false."""
    if not isinstance(value, bool):
        yield Wrong((), value, "true or false")


def number(value: Any) -> Iterator[Wrong]:
    """Accept a finite number."""
    if not _is_number(value):
        yield Wrong((), value, "a finite number")


def not_negative(value: Any) -> Iterator[Wrong]:
    """Accept a finite number that is not below 0."""
    if not _is_number(value) or value < 0:
        yield Wrong((), value, "a finite number, 0 or above")


def count(value: Any) -> Iterator[Wrong]:
    """Accept a whole number that is not below 0."""
    if not isinstance(value, int) or not _is_number(value) or value < 0:
        yield Wrong((), value, "a whole number, 0 or above")


def anything(value: Any) -> Iterator[Wrong]:
    """Accept every value."""
    return iter(())


def or_null(schema: Schema) -> Schema:
    """Return a schema that also accepts null."""

    def check(value: Any) -> Iterator[Wrong]:
        for wrong in schema(value) if value is not None else ():
            yield wrong if wrong.path else wrong._replace(should=f"{wrong.should}, or null")

    return check


def one_of(*values: Any) -> Schema:
    """Return a schema of a few values."""

    def check(value: Any) -> Iterator[Wrong]:
        if not any(type(value) is type(one) and value == one for one in values):
            yield Wrong((), value, " or ".join(map(repr, values)))

    return check


def fields(required: Mapping[str, Schema], optional: Mapping[str, Schema] = NOTHING) -> Schema:
    """Return a schema of an object with these keys, and any others."""

    def check(value: Any) -> Iterator[Wrong]:
        if not isinstance(value, dict):
            yield Wrong((), value, "an object")
            return
        for key, schema in {**required, **optional}.items():
            if key in value:
                yield from _within(key, schema(value[key]))
            elif key in required:
                yield Wrong((key,), MISSING, "there")

    return check


def mapping(schema: Schema) -> Schema:
    """Return a schema of an object whose values match one schema."""

    def check(value: Any) -> Iterator[Wrong]:
        if not isinstance(value, dict):
            yield Wrong((), value, "an object")
            return
        for key, inner in value.items():
            yield from _within(key, schema(inner))

    return check


def list_of(schema: Schema) -> Schema:
    """Return a schema of a list whose values match one schema."""

    def check(value: Any) -> Iterator[Wrong]:
        if not isinstance(value, list):
            yield Wrong((), value, "a list")
            return
        for place, inner in enumerate(value):
            yield from _within(str(place), schema(inner))

    return check


def row(*schemas: Schema) -> Schema:
    """Return a schema of a list with a schema for each of its places."""

    def check(value: Any) -> Iterator[Wrong]:
        if not isinstance(value, list) or len(value) != len(schemas):
            yield Wrong((), value, f"a list of {len(schemas)} values")
            return
        for place, (schema, inner) in enumerate(zip(schemas, value, strict=True)):
            yield from _within(str(place), schema(inner))

    return check


def storable(value: Any) -> Any:
    """Return a copy that every JSON parser reads: null instead of NaN and infinity, no half of a surrogate pair."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(inner) for key, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list | tuple) else value


def _too_deep(value: Any) -> Iterator[Wrong]:
    """Yield a value that is nested too deeply for the recursions of its readers."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        yield Wrong((), level[0], f"nested at most {DEEPEST} levels deep")


def _within(key: str, found: Iterable[Wrong]) -> Iterator[Wrong]:
    return (wrong._replace(path=(key, *wrong.path)) for wrong in found)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
