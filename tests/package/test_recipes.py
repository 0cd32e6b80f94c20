"""Recipes are found by name, listed and copied, and their weights hold no file twice."""

import hashlib
from collections import defaultdict
from pathlib import Path

import pytest
from places import EXPERIMENTS

from spectron.config.composition import compose
from spectron.config.recipes import RECIPES, copy_recipe, find_recipe, list_recipes
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment

SMALLEST = 1024  # bytes; smaller JSON files of two models may be alike


@pytest.mark.parametrize("name", ["demo", "mini/demo", "demo.yaml", "mini/demo.yaml"])
def test_recipe_is_found_with_or_without_folder_and_suffix(name):
    assert find_recipe(name) == RECIPES / "mini" / "demo.yaml"


def test_suite_is_found_by_whole_file_name():
    assert find_recipe("mini") == RECIPES / "evaluation" / "mini.yaml"


def test_file_is_preferred_to_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("name: mine\n")
    assert find_recipe("demo") == Path("demo")


def test_ambiguous_name_lists_candidates():
    with pytest.raises(ConfigError) as raised:
        find_recipe("base")
    assert raised.value.allowed == ("librispeech/base", "mini/base", "mini/baselines/base")


def test_unknown_name_names_nearest_recipe():
    with pytest.raises(ConfigError) as raised:
        find_recipe("mini/demmo")
    assert "mini/demo" in raised.value.allowed
    assert "`demo`" in str(raised.value)


def test_every_yaml_but_weights_and_curves_is_listed():
    listed = {recipe.name: recipe.kind for recipe in list_recipes()}
    files = {p.relative_to(EXPERIMENTS).with_suffix("").as_posix() for p in EXPERIMENTS.rglob("*.yaml")}
    assert {*listed} == {name for name in files if "weights/" not in name and "reference_curves/" not in name}
    wanted = {"mini/demo": "experiment", "evaluation/mini": "suite", "mini/claims": "study", "mini/base": "base"}
    assert {name: listed[name] for name in wanted} == wanted
    assert all(recipe.question for recipe in list_recipes())


@pytest.mark.parametrize("name", ["mini/demo", "mini/small", "mini/spectron", "mini/pretrain_text"])
def test_copy_is_the_same_experiment(name, tmp_path):
    copied = Experiment.read(copy_recipe(name, tmp_path / "new")).config
    assert copied == Experiment.read(find_recipe(name)).config


def test_copy_of_suite_and_study_refers_to_package(tmp_path):
    suite, study = copy_recipe("evaluation/mini", tmp_path), copy_recipe("mini/claims", tmp_path)
    assert compose(suite).values == compose(find_recipe("evaluation/mini")).values
    values = compose(study).values
    assert Path(values["train"]).resolve() == EXPERIMENTS / "mini" / "claims_row.yaml"
    assert Path(values["suite"]).resolve() == EXPERIMENTS / "evaluation" / "mini_claims.yaml"
    assert f"spectron study {study}" in study.read_text()
    assert str(RECIPES) not in study.read_text(), "a copy does not depend on the place of an installation"


def test_copy_overwrites_nothing(tmp_path):
    copy_recipe("mini/demo", tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        copy_recipe("mini/demo", tmp_path)


def test_extends_may_name_a_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: mini/small\nname: mine\n")
    assert compose(tmp_path / "mine.yaml").values == {**compose(find_recipe("mini/small")).values, "name": "mine"}


def test_extends_reports_ambiguous_recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: base\n")
    with pytest.raises(ConfigError) as raised:
        compose(tmp_path / "mine.yaml")
    assert (raised.value.key, raised.value.origin) == ("extends", str(tmp_path / "mine.yaml"))


def test_bundled_weights_hold_no_file_twice():
    files = defaultdict(list)
    for path in EXPERIMENTS.rglob("*"):
        if path.is_file() and path.stat().st_size >= SMALLEST:
            files[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    assert [paths for paths in files.values() if len(paths) > 1] == []
