"""The reference curves that come with recipes are of the recipes as they stand."""

from pathlib import Path

import pytest
import yaml
from places import EXPERIMENTS

from spectron.evaluation.study.study import Study, training_of
from spectron.experiment.experiment import Experiment
from spectron.tracking.reference_curves import ReferenceCurve

FILES = sorted(EXPERIMENTS.rglob("expected/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_of_its_name_and_length_names_it(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path))
    monkeypatch.setenv("SPECTRON_DATA", str(tmp_path))
    beside = file.parents[1]
    of_study = file.stem == "claims_full"
    recipe = Study(beside / "claims.yaml").jobs()[0].experiment if of_study else beside / file.name
    config = Experiment.read(recipe).config
    assert Path(config["callbacks"]["expected"]["init_args"]["file"]).resolve() == file
    curve = ReferenceCurve(str(file))
    assert (curve.experiment, curve.max_steps) == (config["name"], config["trainer"]["max_steps"])
    last = {max(steps) for name, steps in curve.bands.items() if name == "val/loss"}
    assert last == {curve.max_steps}, "whole runs"
    assert yaml.safe_load(file.read_text())["runs"] >= 1


def test_the_row_that_studies_change_is_held_against_one_file_under_each_of_its_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path))
    mini = EXPERIMENTS / "mini"
    rows = [
        mini / "claims_row.yaml",
        *(Study(mini / f"{study}.yaml").jobs()[0].experiment for study in ("claims", "speaking")),
    ]
    configs = [Experiment.read(row).config for row in rows]
    assert len({config["name"] for config in configs}) == 3
    for config in configs:
        assert config["name"] in ReferenceCurve(**config["callbacks"]["expected"]["init_args"]).names
        assert training_of(config) | {"name": ""} == training_of(configs[0]) | {"name": ""}, "one recipe"
