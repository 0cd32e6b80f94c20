"""Recipes: the YAMLs that come with the package, found by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spectron.errors import ConfigError, did_you_mean, nearest

RECIPES = (Path(__file__).parents[1] / "recipes").resolve()  # a link in a checkout
# Stands for the folder of the recipes in a YAML, so that a copied recipe does not contain the place of an installation.
RECIPES_MARK = "${recipes}"
NOT_RECIPES = ("weights", "reference_curves")  # folders whose YAMLs describe exported models and curves
# The key that only this kind of YAML has.
KINDS = {"rows": "study", "tasks": "suite", "task": "experiment"}


@dataclass(frozen=True)
class Recipe:
    """YAML of the package: its name, its kind (``experiment``, ``suite``, ``study`` or ``base``) and its question."""

    name: str
    kind: str
    question: str


def recipe_files() -> dict[str, Path]:
    """Return the YAML of every recipe by its name, ``folder/file`` without suffix."""
    files = (path for path in sorted(RECIPES.rglob("*.yaml")) if not {*path.parts} & {*NOT_RECIPES})
    return {path.relative_to(RECIPES).with_suffix("").as_posix(): path for path in files}


def find_recipe(reference: str | Path) -> Path:
    """Return the YAML that a reference names: a file or, if there is none, a recipe with or without folder and suffix.

    Raises:
        ConfigError: if there is neither, or several recipes have the name; ``allowed`` lists them.
    """
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    files = recipe_files()
    matches = _recipes_called(reference, files)
    if len(matches) > 1:
        raise ConfigError(
            f"`{reference}` is the name of {len(matches)} recipes: {', '.join(matches)}. Give the folder too",
            allowed=matches,
        )
    if not matches:
        raise ConfigError(f"there is no file or recipe {path}. {_nearest(path, files)}", allowed=files, file=path)
    return files[matches[0]]


def is_experiment_recipe(reference: str) -> bool:
    """Return whether a name is that of a recipe, or of several, of an experiment."""
    files = recipe_files()
    return "experiment" in {_kind(files[name]) for name in _recipes_called(reference, files)}


def _recipes_called(reference: str | Path, files: Iterable[str]) -> list[str]:
    """Return the recipe of a name with its folder, or those of a name without one."""
    wanted = Path(reference).as_posix().removesuffix(".yaml").removesuffix(".yml")
    named = [name for name in files if name == wanted or name.endswith(f"/{wanted}")]
    return [wanted] if wanted in named else named


def list_recipes() -> list[Recipe]:
    """Describe every recipe, in the order of their names."""
    return [Recipe(name, _kind(path), _question(path)) for name, path in recipe_files().items()]


def copy_recipe(reference: str, folder: Path) -> Path:
    """Copy a recipe into a folder. All that the copy refers to, such as its base and its weights, stays in the package.

    Returns:
        The copy.

    Raises:
        ConfigError: if there is no such recipe, or the folder already has a file of its name.
    """
    source = find_recipe(reference)
    if not source.is_relative_to(RECIPES):
        raise ConfigError(f"{reference}: this is a file, not a recipe of the package. Copy it as any other file")
    target = folder / source.name
    if target.exists():
        raise ConfigError(f"{target} exists already. Name another folder, or remove the file")
    home = Path(RECIPES_MARK) / source.relative_to(RECIPES).parent
    text = re.sub(
        r"^(extends|train|suite): (.*)$", lambda line: _referring(line, home), source.read_text("utf-8"), flags=re.M
    )
    # The command in the header names the recipe.
    text = text.replace(f"experiments/{source.relative_to(RECIPES)}", str(target)).replace("${here}", str(home))
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def _referring(line: re.Match[str], home: Path) -> str:
    """Rewrite a key whose files are relative to a recipe, so that it can be read in any folder."""
    files = yaml.safe_load(line[2])
    told = [os.path.normpath(home / file) for file in ([files] if isinstance(files, str) else files)]
    return f"{line[1]}: {json.dumps(told[0] if isinstance(files, str) else told)}"


def _kind(path: Path) -> str:
    """Return what a recipe is. One without a name is only a base: no verb runs it."""
    keys = _keys(path)
    return next(kind for key, kind in KINDS.items() if key in keys) if "name" in _values(path) else "base"


def _question(path: Path) -> str:
    """Return the question that the first comment line asks, or the whole line."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ").removeprefix("Question: ")


def _keys(path: Path) -> set[str]:
    """Return the top-level keys of a recipe and of all that it extends."""
    values = _values(path)
    bases = values.get("extends", [])
    return {*values}.union(*(_keys(path.parent / base) for base in ([bases] if isinstance(bases, str) else bases)))


@cache
def _values(path: Path) -> dict[str, Any]:
    """Read one recipe without its bases."""
    return yaml.safe_load(path.read_text("utf-8"))


def _nearest(path: Path, files: Iterable[str]) -> str:
    """Return the cure for a missing YAML: the nearest file next to it, or else the nearest recipe."""
    if path.parent.is_dir():
        near = nearest(path.name, (file.name for file in path.parent.glob("*.yaml")))
        if near:
            return f"Did you mean `{near}`?"
    return (
        f"{did_you_mean(path.stem, [name.rpartition('/')[2] for name in files])} `spectron recipes` lists all recipes."
    )
