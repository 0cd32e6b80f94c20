"""Walk over nested dicts and lists, and replacement of their leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

KeyPath = tuple[str, ...]


def walk(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value of nested mappings, lists and tuples with its path, outer values first."""
    yield path, tree
    for key, value in items(tree):
        yield from walk(value, (*path, str(key)))


def leaves(tree: Any, enter: Callable[[Any], bool], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the values that ``enter`` refuses, with their paths; the walk continues in those that it accepts."""
    if enter(tree):
        for key, value in items(tree):
            yield from leaves(value, enter, (*path, str(key)))
    else:
        yield path, tree


def keys(tree: Any) -> set[str]:
    """Return the keys of all nested mappings."""
    return {str(key) for _, value in walk(tree) if isinstance(value, Mapping) for key in value}


def replace(tree: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of nested dicts and lists in which ``change`` has been applied to every leaf; keys become text."""
    if isinstance(tree, Mapping):
        return {str(key): replace(value, change) for key, value in tree.items()}
    return [replace(value, change) for value in tree] if isinstance(tree, list) else change(tree)


def replace_at(tree: Any, changes: Mapping[KeyPath, Any], path: KeyPath = ()) -> Any:
    """Return a copy of nested dicts and lists with other values at some paths; keys become text."""
    if path in changes:
        return changes[path]
    if isinstance(tree, Mapping):
        return {str(key): replace_at(value, changes, (*path, str(key))) for key, value in tree.items()}
    if isinstance(tree, list):
        return [replace_at(value, changes, (*path, str(number))) for number, value in enumerate(tree)]
    return tree


def items(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield keys and values of a mapping, or positions and values of a list or tuple; nothing of any other value."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
