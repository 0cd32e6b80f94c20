"""Composition of a configuration from base files, deltas, environment variables and overrides.

A file names its bases with ``extends:`` and states only what it changes. ``${here}`` stands for the folder of the file
that contains it, ``${recipes}`` for the folder of the bundled recipes, ``${oc.env:NAME}`` for an environment variable,
``${a.b}`` for another key (OmegaConf's interpolations). The composition records which file sets each key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from omegaconf.resolvers import oc

from spectron.config.nested import KeyPath, replace, walk
from spectron.config.recipes import RECIPES, RECIPES_MARK, find_recipe
from spectron.config.user_classes import absolute, same_class
from spectron.config.yaml_text import read_yaml
from spectron.errors import ConfigError, did_you_mean

COMMAND_LINE = "the command line"
ENVIRONMENT = "oc.env"  # OmegaConf's resolver of environment variables
WITHHELD = "__environment_"  # marks a value of the environment that is not stored
STORED_NAME = "config.yaml"  # the file that `spectron fit` and `spectron export` write
REMOVABLE = ("callbacks", "weights", "tasks", "judges")  # sections whose entries a delta removes by null


@dataclass
class Composition:
    """A composed configuration.

    Attributes:
        values: Plain nested dicts and lists, without interpolations.
        origins: For each key path, the file (or "the command line") that set it last.
        files: The files read, bases first.
        stored: Which origins are stored configurations: of a checkpoint, a run or an export. They may be a stranger's:
            they are not interpolated, and code that they name runs only if it is trusted.
        trust: Whether that code may run.
        allowed_by: How a user allows it, for the error.
        withheld: Values that are not stored with a run, because they come from the environment and may be secret: the
            interpolation is stored in their place.
    """

    values: dict[str, Any]
    origins: dict[KeyPath, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    trust: bool = False
    allowed_by: str = "--trust (in Python: trust=True)"
    withheld: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Return the file that sets the key at ``path``, or else the nearest key above it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return str(self.files[-1]) if self.files else "the configuration"


def compose(path: Path, overrides: Sequence[str] = (), stored: bool = False, trust: bool = False) -> Composition:
    """Read a YAML with its bases, then apply ``key=value`` overrides and resolve interpolations.

    Args:
        path: The file.
        overrides: Changes, ``key=value``.
        stored: Whether the file is a stored configuration. A base called ``config.yaml`` is one in any case.
        trust: Whether code that a stored configuration names may run.

    Raises:
        ConfigError: for a missing or looping file, YAML that does not parse, a malformed override, or an environment
            variable that is not set.
    """
    composition = Composition({}, trust=trust)
    try:
        _add_file(Path(path), (), composition, stored)
    except OSError as error:  # of a name that no file can have
        raise ConfigError(f"cannot look for {str(error.filename)[:100]!r}: {error.strerror}", file=path) from error
    return override(composition, overrides)


def stored_composition(values: dict[str, Any], file: Path, overrides: Sequence[str], trust: bool) -> Composition:
    """Return the composition of a configuration that is stored in a file of another format, with overrides.

    Raises:
        ConfigError: for a malformed override.
    """
    composition = Composition(replace(values, _escaped), files=[file], stored={str(file)}, trust=trust)
    return override(composition, overrides)


def override(composition: Composition, overrides: Sequence[str]) -> Composition:
    """Apply ``key=value`` overrides to a composition, in place, and resolve interpolations.

    Raises:
        ConfigError: for a malformed override, or an interpolation that cannot be resolved.
    """
    delta: dict[str, Any] = {}
    for item in overrides:
        # All overrides form one delta, so that a new class_path keeps its init_args in whatever order they are typed.
        # Under the path "overrides", a null does not remove an entry yet: only the base has the entry.
        _merge(delta, _parse_override(item), ("overrides",), COMMAND_LINE, {})
    _merge(composition.values, delta, (), COMMAND_LINE, composition.origins)
    stored = _resolve(composition, secret=True)
    composition.values = _resolve(composition)
    composition.withheld = {
        path: re.sub(rf"{WITHHELD}(\w+?)__", rf"${{{ENVIRONMENT}:\1}}", text)
        for path, text in walk(stored)
        if isinstance(text, str) and WITHHELD in text
    }
    return composition


def _add_file(path: Path, chain: tuple[Path, ...], composition: Composition, stored: bool = False) -> None:
    """Merge a file's bases and then the file itself into the composition; ``chain`` holds the files that led here."""
    path = path.resolve()
    route = " -> ".join(str(file) for file in (*chain, path))
    origin = str(chain[-1]) if chain else ""
    if path in chain:
        message = f"files extend each other in a loop: {route}. Remove one of these `extends:` lines."
        raise ConfigError(message, key="extends", origin=origin, file=path)
    if not path.is_file() and chain:
        message = f"the last of these files does not exist: {route}. {_nearest_file(path, chain)}"
        raise ConfigError(message, key="extends", origin=origin, file=path)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}. {_nearest_file(path, chain)}", file=path)
    values = _read_yaml(path)
    stored = stored or (bool(chain) and path.name == STORED_NAME)
    if stored:
        composition.stored.add(str(path))
    bases = [] if stored else values.pop("extends", None) or []
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str):
            message = f"expects a file or a list of files, got {bases!r}."
            raise ConfigError(message, key="extends", origin=str(path))
        _add_file(_base_file(base, path), (*chain, path), composition)
    values = _place(values, path.parent)
    _merge(composition.values, replace(values, _escaped) if stored else values, (), str(path), composition.origins)
    composition.files.append(path)


def _base_file(base: str, file: Path) -> Path:
    """Return the file that ``extends: base`` names: relative to the folder of ``file``, or a recipe without suffix.

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
    """Return what to do about a missing YAML; the files that led to it are not proposed."""
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    return did_you_mean(path.name, (file.name for file in path.parent.glob("*.yaml") if file.resolve() not in chain))


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read a file as plain dicts, with interpolations left as text."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (ConfigError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not a readable YAML file: {error}", file=path) from error
    if values is not None and not isinstance(values, dict):
        held = type(values).__name__
        raise ConfigError(f"{path} must hold keys and values at the top level, and holds a {held}.", file=path)
    return values or {}


def _place(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make ``${here}`` and the paths of class files absolute, because the folder is not known after merging."""

    def placed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = value.replace("${here}", str(folder)).replace(RECIPES_MARK, str(RECIPES))
        if value.startswith(("${here}/", RECIPES_MARK)) and "/.." in value:
            text = os.path.normpath(text)  # titles of judges and messages show it
        return absolute(text, folder)

    return replace(values, placed)


def _escaped(value: Any) -> Any:
    """Return a value in which OmegaConf finds no interpolation."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _parse_override(item: str) -> dict[str, Any]:
    """Turn ``a.b=value`` into ``{"a": {"b": value}}``, the value read as YAML."""
    key, equals, text = item.partition("=")
    if not equals or not re.fullmatch(r"[\w/-]+(\.[\w/-]+)*", key):
        raise ConfigError(
            f"{item!r} is not an override. Write key=value, for example trainer.max_steps=100.", origin=COMMAND_LINE
        )
    if key.split(".")[0] == "extends":
        message = "a base cannot be named on the command line. Write a YAML that extends both."
        raise ConfigError(message, key="extends", origin=COMMAND_LINE)
    try:
        value = read_yaml(text)
    except ConfigError as error:
        raise ConfigError(
            f"the value of {item!r} is not YAML: {error}. Quote it for the shell.", key=key, origin=COMMAND_LINE
        ) from error
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return _place(value, Path.cwd())


def _merge(
    base: dict[str, Any], delta: dict[str, Any], path: KeyPath, origin: str, origins: dict[KeyPath, str]
) -> None:
    """Merge ``delta`` deep into ``base``, in place; lists are replaced whole."""
    if "class_path" in delta and not same_class(
        str(base.get("class_path", delta["class_path"])), str(delta["class_path"])
    ):
        base.pop("init_args", None)  # they belong to the class that is replaced
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
                message = f"there is no `{key}` to remove. {did_you_mean(key, base)}"
                raise ConfigError(message, key=".".join(here), origin=origin, allowed=base)
            del base[key]
        else:
            for below in [path for path in origins if path[: len(here)] == here]:
                del origins[below]  # the values below are replaced
            origins[here] = origin
            base[key] = value


def _holds_removable(path: KeyPath) -> bool:
    """Return whether null removes an entry of this section: one of ``REMOVABLE``, or the judges of a callback."""
    judges = path[:1] == ("callbacks",) and path[2:] == ("init_args", "judges")
    return judges or (len(path) == 1 and path[0] in REMOVABLE)


def _stored_environment(name: str, *default: str | None) -> str | None:
    """Return the value of an environment variable if it is a path, and the interpolation of any other."""
    value = os.environ.get(name)
    if value is None:
        return oc.env(name, *default)
    is_path = value.startswith(("/", "./", "../", "~")) or Path(value).exists()
    return value if is_path else f"{WITHHELD}{name}__"  # not the interpolation: oc.decode would resolve it


OmegaConf.register_resolver("spectron.stored", _stored_environment, replace=True)


def _with_stored_environment(value: Any) -> Any:
    """Return a value with ``_stored_environment`` as the resolver of environment variables."""
    return value.replace(f"${{{ENVIRONMENT}:", "${spectron.stored:") if isinstance(value, str) else value


def _key_path(key: str) -> KeyPath:
    """Turn OmegaConf's ``a.b[0]`` into ``("a", "b", "0")``."""
    return tuple(name for name in re.split(r"[.\[\]]+", key) if name)


def _resolve(composition: Composition, secret: bool = False) -> dict[str, Any]:
    """Resolve interpolations.

    Args:
        composition: The configuration.
        secret: Whether values of environment variables that are no paths stay interpolations.

    Raises:
        ConfigError: for a value that is missing, with the environment variable or key that it refers to.
    """
    try:
        values = replace(composition.values, _with_stored_environment) if secret else composition.values
        config: DictConfig = OmegaConf.create(values)
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        path = _key_path(str(error.full_key))
        key, message = ".".join(path), str(error).splitlines()[0]
        # OmegaConf has no error class or field for an environment variable that is not set.
        variable = re.search(r"[Ee]nvironment variable '(\w+)'", message)
        if isinstance(error, MissingMandatoryValue):
            message = f"has no value yet. Set it: {key}=VALUE"
        elif variable:
            name = variable[1]
            message = f"the environment variable {name} is not set. Set it: export {name}=... (or override {key}=...)."
        else:
            message = f"{message}. Override the key: {key}=..."
        raise ConfigError(message, key=key, origin=composition.where(path)) from error
    except RecursionError as error:
        raise ConfigError("interpolations refer to each other in a loop, or nest too deeply. Remove one") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}
