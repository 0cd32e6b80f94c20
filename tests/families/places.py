"""Folders and files of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
TINY = ROOT / "tests" / "experiments" / "tiny" / "tiny.yaml"
