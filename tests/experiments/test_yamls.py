"""Every YAML of the project composes, and every experiment among them passes all checks short of being built."""

import pytest
from places import ROOT

from spectron.config.composition import compose
from spectron.experiment.experiment import Experiment

FOLDER = ROOT / "experiments"
STUDIES = {"mini/claims.yaml", "mini/speaking.yaml"}  # composed by the tests of studies
FILES = sorted(
    path
    for path in FOLDER.rglob("*.yaml")
    if not {"weights", "evaluation", "expected"} & set(path.parts) and str(path.relative_to(FOLDER)) not in STUDIES
)
BASES = {"mini/base.yaml", "mini/encoder.yaml", "mini/few_questions.yaml", "mini/judges.yaml"}
EXPERIMENTS = 40


def name_of(path):
    return str(path.relative_to(FOLDER))


@pytest.fixture(autouse=True)
def corpora(monkeypatch):
    monkeypatch.setenv("SPECTRON_DATA", "/corpora")


def test_none_is_missing_or_forgotten():
    assert {name_of(path) for path in FILES} >= BASES
    assert len(FILES) == EXPERIMENTS + len(BASES)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_it_composes(path):
    values = compose(path).values
    assert ("name" in values) == (name_of(path) not in BASES)


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) not in BASES], ids=name_of)
def test_names_types_and_classes_are_right(path):
    experiment = Experiment.read(path)
    assert experiment.config["trainer"]["max_steps"] > 0


def test_no_two_experiments_share_a_name():
    names = [compose(path).values.get("name") for path in FILES if name_of(path) not in BASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_its_head_says_what_it_is_for(path):
    head = [line for line in path.read_text().splitlines()[:5] if line.startswith("# ")]
    wanted = ("not an experiment",) if name_of(path) in BASES else ("question:", "against:", "run:")
    assert all(word in " ".join(head).lower() for word in wanted)


def test_the_embedded_weights_stay_small():
    files = [path for path in (FOLDER / "mini" / "weights").rglob("*") if path.suffix == ".safetensors"]
    assert len(files) == 12
    assert sum(path.stat().st_size for path in files) < 40e6
