"""Reading of YAML: plain values, and no value that is another one than its text says.

PyYAML reads YAML 1.1, in which ``0017`` is 15, ``1:30`` is 90 and ``no`` is false, while ``5e-4`` is a text. Here such
scalars are refused with their line, numbers are read as Python reads them, and keys stay as they are written. Tags are
refused, so that a file names no object. Nesting and size are limited: aliases can make a gigabyte of one line.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from spectron.errors import ConfigError

PLAIN, TEXT = "plain", "tag:yaml.org,2002:str"
COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
DEEPEST, LARGEST = 50, 1_000_000  # levels of nesting; values, each alias counted as what it stands for
LARGEST_INTEGER = 2**63 - 1

NULL = re.compile(r"~|null|Null|NULL|")
BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?(0|[1-9](_?[0-9])*|0x[0-9a-fA-F]+|0b[01]+)")
FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Scalars that YAML 1.1 and YAML 1.2 read differently.
AMBIGUOUS = {
    re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"): "write true or false, or put the text in quotes",
    re.compile(r"[-+]?0[0-9_]+"): "write the number without the leading 0, or put the text in quotes",
    re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+"): (
        "write one number, in seconds for example, or put the text in quotes"
    ),
}


class _Loader(yaml.BaseLoader):
    """Loader whose nodes say whether a scalar is plain, in quotes or tagged."""


_Loader.add_implicit_resolver(PLAIN, re.compile(""), None)  # type: ignore[no-untyped-call]


def read_yaml(text: str) -> Any:
    """Return the value of a YAML document: dicts with text as keys, lists, text, numbers, booleans and None.

    Raises:
        ConfigError: for text that is no YAML, or that has a repeated key, a tag, an ambiguous scalar, a NUL character,
            a number beyond 64 bits, or too many levels or values; with line and column.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _require_small(node, 0, {})
        return _value(node)
    except yaml.YAMLError as error:
        raise ConfigError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ConfigError(f"the text is nested deeper than {DEEPEST} levels") from error


def _require_small(node: yaml.Node, depth: int, sizes: dict[int, int]) -> int:
    """Return the number of values in a node.

    Raises:
        ConfigError: for a node that is too deep, contains itself, or has too many values.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    if depth > DEEPEST:
        _refuse(node, f"values are nested deeper than {DEEPEST} levels, or contain themselves")
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    size = 1
    if not isinstance(node, yaml.ScalarNode):
        size += sum(_require_small(part, depth + 1, sizes) for part in inner)
    if size > LARGEST:
        _refuse(node, f"this stands for more than {LARGEST} values")
    sizes[id(node)] = size
    return size


def _value(node: yaml.Node) -> Any:
    """Return the value of a node."""
    if node.tag not in (PLAIN, TEXT, *COLLECTIONS):
        _refuse(node, f"the tag `{node.tag}` is not allowed: a file holds plain values only. Remove the tag")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    _require_writable(node)
    return node.value if node.tag == TEXT else _scalar(node)


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    """Return a mapping; ``<<`` adds the keys of other mappings that it has not itself."""
    found: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _refuse(key, "a key must be a text")
        _require_writable(key)
        if key.value in found:
            _refuse(key, f"the key `{key.value}` is written twice. Remove one")
        if key.tag == PLAIN and key.value == "<<":
            for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(other, yaml.MappingNode):
                    _refuse(other, "`<<` expects a mapping or a list of mappings")
                merged = _value(other) | merged
        else:
            found[key.value] = _value(value)
    return merged | found


def _scalar(node: yaml.Node) -> Any:
    """Return the value of a plain scalar."""
    text: str = node.value
    if NULL.fullmatch(text):
        return None
    if BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if INTEGER.fullmatch(text):
        number = int(text, 0) if len(text) <= len(str(LARGEST_INTEGER)) * 4 else LARGEST_INTEGER + 1
        if abs(number) > LARGEST_INTEGER:
            _refuse(node, f"the number is larger than {LARGEST_INTEGER}. Put a text in quotes")
        return number
    if FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    for pattern, cure in AMBIGUOUS.items():
        if pattern.fullmatch(text):
            _refuse(node, f"`{text}` means different things in YAML 1.1 and 1.2: {cure}")
    return text


def _require_writable(node: yaml.Node) -> None:
    """Refuse text that no file name, and no file in UTF-8, can hold."""
    if "\0" in node.value or any("\ud800" <= letter <= "\udfff" for letter in node.value):
        _refuse(node, "the text has a NUL character or half of a surrogate pair. Remove it")


def _refuse(node: yaml.Node, message: str) -> NoReturn:
    raise ConfigError(f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}: {message}")
