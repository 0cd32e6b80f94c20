"""Every suite of the project composes, and passes all checks short of being built."""

import shutil
from pathlib import Path

import pytest
from places import ROOT

from spectron.config.composition import compose
from spectron.evaluation.suites.plan import without_places
from spectron.evaluation.suites.suite import Suite

FOLDER = ROOT / "experiments" / "evaluation"
FILES = sorted(FOLDER.glob("*.yaml"))
BASES = {"judges_mini.yaml", "judges_english.yaml"}
SUITES = [path for path in FILES if path.name not in BASES]


@pytest.fixture(autouse=True)
def corpora(monkeypatch):
    monkeypatch.setenv("SPECTRON_DATA", "/corpora")


def test_none_is_missing_or_forgotten():
    assert {path.name for path in FILES} >= BASES
    assert len(SUITES) == 11


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_names_types_and_classes_are_right(path):
    suite = Suite.read(path)
    assert suite.name == "evaluation-" + path.stem.replace("_", "-")
    assert ("recogniser" in suite.config["judges"]) == (path.name != "pairs.yaml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_head_says_what_it_is_for(path):
    head = " ".join(line for line in path.read_text().splitlines()[:5] if line.startswith("# ")).lower()
    wanted = ("not a suite",) if path.name in BASES else ("question:", "against:", "run:")
    assert all(word in head for word in wanted)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_where_it_lies_is_no_part_of_its_fingerprint(path, tmp_path):
    elsewhere = Path(shutil.copytree(FOLDER, tmp_path / "evaluation")) / path.name
    here, there = (without_places(Suite.read(one).settings) for one in (path, elsewhere))
    assert here == there, "evaluations of two clones are made alike"


def test_no_two_suites_share_a_name():
    names = [compose(path).values["name"] for path in SUITES]
    assert len(set(names)) == len(names)
