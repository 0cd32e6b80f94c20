"""Composes an experiment's configuration: base files, deltas, environment, overrides. Remembers where each key was said.

A file names its bases with ``extends:`` and states only what it changes. ``${here}`` stands for the folder of the file it is
written in, ``${recipes}`` for that of the package's recipes, ``${oc.env:NAME}`` for an environment variable, ``${a.b}`` for another
key (OmegaConf's interpolations).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from spectron.config.recipes import RECIPES, RECIPES_MARK, find_recipe
from spectron.config.user_classes import absolute, same_class
from spectron.errors import ConfigError, did_you_mean

COMMAND_LINE = "the command line"
KeyPath = tuple[str, ...]
REMOVABLE = ("callbacks", "weights", "tasks", "judges")  # sections whose entries a delta removes by null


@dataclass
class Composition:
    """A composed configuration.

    Attributes:
        values: Plain nested dicts and lists, without interpolations.
        origins: For each key path, the file (or "the command line") that said it last.
        files: The files read, bases first.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def where(self, path: KeyPath) -> str:
        """Who said the key at ``path``, or else the nearest key above it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return str(self.files[-1]) if self.files else "the configuration"


def compose(path: Path, overrides: Sequence[str] = ()) -> Composition:
    """Read a YAML with its bases, then apply ``key=value`` overrides and resolve interpolations.

    Raises:
        ConfigError: for a missing or looping file, YAML that does not parse, a malformed override, an unset environment variable.
    """
    composition = Composition({})
    _add_file(Path(path), (), composition)
    return override(composition, overrides)


def override(composition: Composition, overrides: Sequence[str]) -> Composition:
    """Apply ``key=value`` overrides to a composition, in place, and resolve interpolations.

    Raises:
        ConfigError: for a malformed override, or an interpolation that leads nowhere.
    """
    delta: dict[str, Any] = {}
    for item in overrides:
        # All overrides make one delta: a new class_path then goes with its init_args in whatever order they are typed.
        # The path keeps a null from removing an entry here, where only the base has it.
        _merge(delta, _parse_override(item), ("overrides",), COMMAND_LINE, {})
    _merge(composition.values, delta, (), COMMAND_LINE, composition.origins)
    composition.values = _resolve(composition)
    return composition


def _add_file(path: Path, chain: tuple[Path, ...], composition: Composition) -> None:
    """Merge a file's bases and then the file itself into the composition; ``chain`` holds the files that led here."""
    path = path.resolve()
    told = " -> ".join(str(file) for file in (*chain, path))
    if path in chain:
        raise ConfigError(f"extends: files extend each other in a loop: {told}. Remove one of these `extends:` lines.")
    if not path.is_file():
        said = f"extends: {told}: the last of these files does not exist" if chain else f"{path}: there is no such file"
        raise ConfigError(f"{said}. {_nearest_file(path, chain)}")
    values = _read_yaml(path)
    bases = values.pop("extends", None) or []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            raise ConfigError(f"extends: expects a file or a list of files, got {bases!r} (in {path}).")
        _add_file(_base_file(base, path), (*chain, path), composition)
    _merge(composition.values, _place(values, path.parent), (), str(path), composition.origins)
    composition.files.append(path)


def _base_file(base: str, file: Path) -> Path:
    """Return what ``extends: base`` names in a file: another file, seen from its folder, or a recipe if it has no suffix.

    Raises:
        ConfigError: if there is no such recipe, or several have the name.
    """
    path = file.parent / base.replace("${here}", str(file.parent)).replace(RECIPES_MARK, str(RECIPES))
    if path.suffix or path.exists():
        return path
    try:
        return find_recipe(base)
    except ConfigError as error:
        raise error.within("extends", str(file)) from None


def _nearest_file(path: Path, chain: tuple[Path, ...]) -> str:
    """The cure for a missing YAML; none of the files that led to it."""
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    return did_you_mean(path.name, (file.name for file in path.parent.glob("*.yaml") if file.resolve() not in chain))


def _read_yaml(path: Path) -> dict[str, Any]:
    """One file as plain dicts, interpolations left as text."""
    try:
        # OmegaConf's loader rather than PyYAML's: it reads 5e-4 as a number and refuses a key that is written twice.
        config = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: this is not a readable YAML file: {error}") from error
    if isinstance(config, ListConfig):
        raise ConfigError(f"{path}: expects keys and values at the top, found a list.")
    values = OmegaConf.to_container(config, resolve=False)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expects keys and values at the top.")
    return {str(key): value for key, value in values.items()}


def _place(value: Any, folder: Path) -> Any:
    """Say from which folder ``${here}`` and the path of a class' file are seen, before merging forgets which file said them."""
    if isinstance(value, dict):
        return {str(key): _place(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_place(item, folder) for item in value]
    if not isinstance(value, str):
        return value
    placed = value.replace("${here}", str(folder)).replace(RECIPES_MARK, str(RECIPES))
    if value.startswith(("${here}/", RECIPES_MARK)) and "/.." in value:
        placed = os.path.normpath(placed)  # titles of judges and messages show it
    return absolute(placed, folder)


def _parse_override(item: str) -> dict[str, Any]:
    """``a.b=value`` to ``{"a": {"b": value}}``, the value read as YAML."""
    key, equals, text = item.partition("=")
    if not equals or not re.fullmatch(r"[\w/-]+(\.[\w/-]+)*", key):
        raise ConfigError(
            f"{item!r} on the command line is not an override. Write key=value, for example trainer.max_steps=100."
        )
    if key.split(".")[0] == "extends":
        raise ConfigError("extends: a base cannot be named on the command line. Write a YAML that extends both.")
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=False)["value"]  # type: ignore[index,call-overload]
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(
            f"{item!r} on the command line: the value is not YAML: {error}. Quote it for the shell."
        ) from error
    for name in reversed(key.split(".")):
        value = {name: value}
    return _place(value, Path.cwd())


def _merge(
    base: dict[str, Any], delta: dict[str, Any], path: KeyPath, origin: str, origins: dict[KeyPath, str]
) -> None:
    """Merge ``delta`` deep into ``base``, in place; lists are replaced whole."""
    if "class_path" in delta and not same_class(
        str(base.get("class_path", delta["class_path"])), str(delta["class_path"])
    ):
        base.pop("init_args", None)  # they belong to the class that is no more
    for key, value in delta.items():
        here = (*path, key)
        if (
            isinstance(value, dict)
            and isinstance(base.get(key), str)
            and "init_args" in value
            and "class_path" not in value
        ):
            base[key] = {"class_path": base[key]}  # the short form of a part, a class path alone, takes arguments
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            origins.setdefault(here, origin)
            _merge(base[key], value, here, origin, origins)
        elif isinstance(value, dict):
            origins[here] = origin
            base[key] = {}
            _merge(base[key], value, here, origin, origins)
        elif value is None and _holds_removable(path):
            if key not in base:
                raise ConfigError(
                    f"{'.'.join(here)} (in {origin}): there is no `{key}` to remove. {did_you_mean(key, base)}"
                )
            del base[key]
        else:
            for below in [path for path in origins if path[: len(here)] == here]:
                del origins[below]  # what was said below is no more
            origins[here] = origin
            base[key] = value


def _holds_removable(path: KeyPath) -> bool:
    """Return whether null removes an entry of this section: one of ``REMOVABLE``, or the judges of a callback."""
    judges = path[:1] == ("callbacks",) and path[2:] == ("init_args", "judges")
    return judges or (len(path) == 1 and path[0] in REMOVABLE)


def _key_path(key: str) -> KeyPath:
    """OmegaConf's ``a.b[0]`` to ``("a", "b", "0")``."""
    return tuple(name for name in re.split(r"[.\[\]]+", key) if name)


def _resolve(composition: Composition) -> dict[str, Any]:
    """Interpolations to values.

    Raises:
        ConfigError: naming the key, the file and the variable or key that is missing.
    """
    config: DictConfig = OmegaConf.create(composition.values)
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise ConfigError(
            f"{key}: has no value yet, in {composition.where(_key_path(key))}. Give it: {key}=VALUE"
        ) from error
    except OmegaConfBaseException as error:
        key = str(error.full_key)
        said = str(error).splitlines()[0]
        variable = re.search(r"[Ee]nvironment variable '(\w+)'", said)
        cure = (
            f"Set it: export {variable[1]}=... (or override the key: {key}=...)."
            if variable
            else f"Override the key: {key}=..."
        )
        what = f"the environment variable {variable[1]} is not set" if variable else said
        raise ConfigError(f"{key}: {what}, in {composition.where(_key_path(key))}. {cure}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
