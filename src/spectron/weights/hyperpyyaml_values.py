"""Values of a HyperPyYAML file, speechbrain's format, without running what its tags ask for."""

from __future__ import annotations

import re
from typing import Any

import yaml


class Reference(str):
    """What follows ``!ref``, such as ``<sample_rate>``."""


class ValueLoader(yaml.SafeLoader):
    """Reads ``!new:`` and the like as the mapping that they hold, with their class path under ``class``."""


def _construct(loader: ValueLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {"class": tag.partition(":")[2], **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return Reference(node.value) if tag == "ref" else None


ValueLoader.add_multi_constructor("!", _construct)


def read_hyperparams(text: str) -> dict[str, Any]:
    """The file's values with references to whole keys resolved; what needs more than that (arithmetic, a path) stays as
    it is written.

    Raises:
        yaml.YAMLError: for what is no YAML, or asks for a Python object by YAML's own tags.
    """
    values: dict[str, Any] = yaml.load(text, Loader=ValueLoader)
    return {key: _resolved(value, values) for key, value in values.items()}


def _resolved(value: Any, values: dict[str, Any], depth: int = 0) -> Any:
    """A value with its references followed; a chain longer than a file has is a loop, and stays."""
    if isinstance(value, dict):
        return {key: _resolved(item, values, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, values, depth) for item in value]
    key = re.fullmatch(r"<(\w+)>", value) if isinstance(value, Reference) else None
    if key is None or key[1] not in values or depth > len(values):
        return value
    return _resolved(values[key[1]], values, depth + 1)
