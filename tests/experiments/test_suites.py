"""Names, checks and fingerprints of the project's evaluation suites."""

import shutil
from pathlib import Path

import pytest
import yaml
from places import EXPERIMENTS
from project_yamls import SUITES

from spectron.evaluation.suites.plan import without_places
from spectron.evaluation.suites.suite import Suite


@pytest.fixture(autouse=True)
def corpora(monkeypatch):
    """Set the folder of corpora, which need not exist."""
    monkeypatch.setenv("SPECTRON_DATA", "/corpora")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Copy all suites to another folder."""
    return Path(shutil.copytree(EXPERIMENTS / "evaluation", tmp_path_factory.mktemp("clone") / "evaluation"))


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_suite_is_valid_and_its_fingerprint_has_no_folder(file, clone):
    suite = Suite.read(file)
    assert suite.name == "evaluation-" + file.stem.replace("_", "-")
    assert ("recogniser" in suite.config["judges"]) == (file.name != "pairs.yaml")
    there = Suite.read(clone / file.name)
    assert without_places(suite.settings) == without_places(there.settings), "two clones evaluate alike"


def test_suite_names_are_unique():
    names = {yaml.safe_load(file.read_text())["name"] for file in SUITES}
    assert len(names) == len(SUITES)
