"""Values of a HyperPyYAML file, speechbrain's format, without running any code."""

from __future__ import annotations

import re
from typing import Any

import yaml


class Reference(str):
    """Text after ``!ref``, such as ``<sample_rate>``."""


class ValueLoader(yaml.SafeLoader):
    """Loader that reads ``!new:`` and similar tags as their mapping, with the class path under ``class``."""


def _construct(loader: ValueLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {"class": tag.partition(":")[2], **loader.construct_mapping(node, deep=True)}
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return Reference(node.value) if tag == "ref" else None


ValueLoader.add_multi_constructor("!", _construct)


def read_hyperparams(text: str) -> dict[str, Any]:
    """Return the values of a file with references to whole keys resolved; arithmetic and paths stay as text.

    Raises:
        yaml.YAMLError: for what is no YAML, or asks for a Python object by YAML's own tags.
    """
    values: dict[str, Any] = yaml.load(text, Loader=ValueLoader)
    return {key: _resolved(value, values) for key, value in values.items()}


def _resolved(value: Any, values: dict[str, Any], depth: int = 0) -> Any:
    """Resolve the references in a value; a reference in a loop stays as text."""
    if isinstance(value, dict):
        return {key: _resolved(item, values, depth) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, values, depth) for item in value]
    key = re.fullmatch(r"<(\w+)>", value) if isinstance(value, Reference) else None
    if key is None or key[1] not in values or depth > len(values):
        return value
    return _resolved(values[key[1]], values, depth + 1)
