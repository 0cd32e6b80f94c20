"""Modules of a HyperPyYAML file (speechbrain's format), built without running code that the file names.

References (``!ref``, ``!copy``) are resolved by HyperPyYAML itself. Objects are made by a loader of our own, and only
those that are asked for: ``!new:`` makes modules of speechbrain and ``torch.nn``, ``!name:`` names such classes and the
functions of ``torch.nn.functional``. A tokenizer or a decoder in the same file is never built.
"""

from __future__ import annotations

import ast
import functools
import pydoc
import re
from typing import Any

import ruamel.yaml
from torch import nn

from spectron.errors import ConfigError

# Not speechbrain.integrations, whose classes fetch and run other projects' models, nor its wrapper of fairseq.
SAFE_MODULES = (
    "speechbrain.nnet.",
    "speechbrain.lobes.features",
    "speechbrain.lobes.models.",
    "speechbrain.processing.",
    "torch.nn.",
)
UNSAFE_MODULES = ("speechbrain.lobes.models.fairseq_wav2vec", "speechbrain.lobes.models.beats")
FUNCTIONS = "torch.nn.functional"
# These act while references are resolved, before any loader could refuse them.
EARLY_TAGS = ("!applyref:", "!include:")
TUPLE = re.compile(r"^\(.*\)$")


class ModuleLoader(ruamel.yaml.SafeLoader):
    """YAML's safe loader with HyperPyYAML's tags for objects, restricted to modules."""


class AnyLoader(ModuleLoader):
    """The same for a file that the user trusts: any class and any function."""


class Hyperparams:
    """A ``hyperparams.yaml``, of which single values are made on demand; what the file shares is made once.

    Args:
        text: The file.
        remote_code: Whether any class and function may be named.

    Raises:
        ConfigError: beginning with ``remote_code``, where the file asks for more than modules.
    """

    def __init__(self, text: str, remote_code: bool = False) -> None:
        from hyperpyyaml import resolve_references

        if not remote_code:
            _refuse_early_tags(ruamel.yaml.YAML().compose(text))
        resolved = resolve_references(text)
        self.loader = (AnyLoader if remote_code else ModuleLoader)(
            resolved if isinstance(resolved, str) else resolved.getvalue()
        )
        self.root = self.loader.get_single_node()

    def node(self, *path: str) -> Any:
        """Return the node of a key path, or None."""
        node = self.root
        for name in path:
            entries = (
                {key.value: value for key, value in node.value} if isinstance(node, ruamel.yaml.MappingNode) else {}
            )
            node = entries.get(name)
        return node

    def keys(self, *path: str) -> list[str]:
        """Return the keys of a mapping; an empty list if the path is no mapping."""
        node = self.node(*path)
        return [key.value for key, _ in node.value] if isinstance(node, ruamel.yaml.MappingNode) else []

    def make(self, *path: str) -> Any:
        """Build the value or object of a key path; None if the path does not exist."""
        node = self.node(*path)
        return None if node is None else self.loader.construct_object(node, deep=True)

    def objects(self, *path: str) -> set[int]:
        """Return the identities of the objects at a key path and below, before any is built."""
        found, queue = set(), [self.node(*path)]
        while queue:
            node = queue.pop()
            if str(getattr(node, "tag", "")).startswith("!new:"):
                found.add(id(node))
            if isinstance(node, ruamel.yaml.MappingNode):
                queue += [value for _, value in node.value]
            elif isinstance(node, ruamel.yaml.SequenceNode):
                queue += node.value
        return found


def _refuse_early_tags(node: Any) -> None:
    tag = str(getattr(node, "tag", ""))
    if tag.startswith(EARLY_TAGS):
        raise _refusal(tag)
    if isinstance(node, ruamel.yaml.MappingNode):
        for key, value in node.value:
            _refuse_early_tags(key)
            _refuse_early_tags(value)
    elif isinstance(node, ruamel.yaml.SequenceNode):
        for value in node.value:
            _refuse_early_tags(value)


def _refusal(tag: str) -> ConfigError:
    return ConfigError(
        f"hyperparams.yaml asks for `{tag}`, and only modules of speechbrain and torch.nn are made from it, because "
        "anything else could run code of a stranger's choosing. Read the file, then allow it with `remote_code: true`",
        key="remote_code",
    )


def _located(name: str) -> Any:
    found = pydoc.locate(name)
    if found is None:
        raise ConfigError(f"hyperparams.yaml names {name}, which is not installed")
    return found


def _allowed(action: str, path: str) -> Any:
    """Return the object that a path names, if an untrusted file may use it.

    The module that defines the object decides: a path that begins in speechbrain may lead out of it.
    """
    home, _, function = path.rpartition(".")
    if action == "name" and home == FUNCTIONS and callable(getattr(nn.functional, function, None)):
        return getattr(nn.functional, function)
    found = _located(path) if action in ("new", "name") and path.startswith(SAFE_MODULES) else None
    home = f"{getattr(found, '__module__', '')}."
    is_module = isinstance(found, type) and issubclass(found, nn.Module)
    if not is_module or not home.startswith(SAFE_MODULES) or home.startswith(UNSAFE_MODULES):
        raise _refusal(f"!{action}:{path}")
    return found


def _arguments(loader: Any, node: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(node, ruamel.yaml.MappingNode):
        return [], loader.construct_mapping(node, deep=True)
    return (loader.construct_sequence(node, deep=True), {}) if isinstance(node, ruamel.yaml.SequenceNode) else ([], {})


def _construct(loader: Any, suffix: str, node: Any) -> Any:
    """Build the object of a tag.

    ``suffix`` is ``new:`` or ``name:`` with a dotted path, or a tag that only a trusted file may use.
    """
    action, _, path = suffix.partition(":")
    found = _located(path) if isinstance(loader, AnyLoader) else _allowed(action, path)
    args, kwargs = _arguments(loader, node)
    if action == "name":
        return functools.partial(found, *args, **kwargs) if args or kwargs else found
    if action not in ("new", "apply"):
        raise ValueError(f"hyperparams.yaml has a tag that is not known here: !{suffix}")
    return found(*args, **kwargs)


def _tuple(loader: Any, node: Any) -> tuple[Any, ...]:
    return tuple(ast.literal_eval(f"[{node.value[1:-1]}]"))


ModuleLoader.add_multi_constructor("!", _construct)
ModuleLoader.add_constructor("!tuple", _tuple)
ModuleLoader.add_implicit_resolver("!tuple", TUPLE, ["("])
