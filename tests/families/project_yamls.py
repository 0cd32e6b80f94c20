"""YAML files of the project by kind, found by their folder and their top-level keys."""

from pathlib import Path

import yaml
from places import EXPERIMENTS

OTHER_FOLDERS = {"weights", "reference_curves", "evaluation"}


def with_key(files: list[Path], key: str) -> list[Path]:
    """Return the files that have a top-level key."""
    return [file for file in files if key in yaml.safe_load(file.read_text())]


def name_of(file: Path) -> str:
    """Return a file's path below ``experiments/``, which is its test id."""
    return file.relative_to(EXPERIMENTS).as_posix()


_files = sorted(file for file in EXPERIMENTS.rglob("*.yaml") if not OTHER_FOLDERS & set(file.parts))
_suite_files = sorted((EXPERIMENTS / "evaluation").glob("*.yaml"))

STUDIES = with_key(_files, "rows")
SYSTEMS = with_key(_files, "system")
RECIPES = [
    file for file in with_key(_files, "name") if file not in STUDIES and yaml.safe_load(file.read_text())["name"]
]
SUITES = with_key(_suite_files, "name")
# Bases have no name: other files extend them.
BASES = [file for file in (*_files, *_suite_files) if file not in (*STUDIES, *SYSTEMS, *RECIPES, *SUITES)]
REFERENCE_CURVES = sorted(EXPERIMENTS.rglob("reference_curves/*.yaml"))
