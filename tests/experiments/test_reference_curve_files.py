"""Reference curves of the project's recipes: they belong to the recipes in their present form."""

from pathlib import Path

import pytest
import yaml
from places import EXPERIMENTS
from project_yamls import REFERENCE_CURVES, name_of

from spectron.evaluation.study.study import training_of
from spectron.experiment.experiment import Experiment
from spectron.tracking.reference_curves import ReferenceCurve


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Set the folders of runs and corpora, which need not contain anything."""
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path))
    monkeypatch.setenv("SPECTRON_DATA", str(tmp_path))


@pytest.mark.parametrize("file", REFERENCE_CURVES, ids=name_of)
def test_curve_matches_the_recipe_that_names_it(file, studies):
    of_study = file.stem == "claims_full"
    recipe = studies["claims"].jobs()[0].experiment if of_study else file.parents[1] / file.name
    config = Experiment.read(recipe).config
    assert Path(config["callbacks"]["reference_curve"]["init_args"]["file"]).resolve() == file
    curve = ReferenceCurve(str(file))
    assert (curve.experiment, curve.max_steps) == (config["name"], config["trainer"]["max_steps"])
    last = {max(steps) for name, steps in curve.bands.items() if name == "val/loss"}
    assert last == {curve.max_steps}, "the curve covers whole runs"
    assert yaml.safe_load(file.read_text())["runs"] >= 1


def test_first_rows_of_studies_share_curve_and_training(studies):
    recipes = [
        EXPERIMENTS / "mini" / "claims_row.yaml",
        *(studies[name].jobs()[0].experiment for name in ("claims", "speaking")),
    ]
    configs = [Experiment.read(recipe).config for recipe in recipes]
    assert len({config["name"] for config in configs}) == 3
    for config in configs:
        assert config["name"] in ReferenceCurve(**config["callbacks"]["reference_curve"]["init_args"]).names
        assert training_of(config) | {"name": ""} == training_of(configs[0]) | {"name": ""}
