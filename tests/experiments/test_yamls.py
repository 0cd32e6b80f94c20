"""Composition, headers and number of the project's YAML files."""

import re
import shlex

import pytest
import yaml
from places import EXPERIMENTS, ROOT
from project_yamls import BASES, RECIPES, REFERENCE_CURVES, STUDIES, SUITES, SYSTEMS, name_of

from spectron.config.composition import compose
from spectron.experiment.experiment import Experiment

HEADED = [*RECIPES, *STUDIES, *SYSTEMS, *SUITES]
STAGES = 6


@pytest.fixture(autouse=True)
def corpora(monkeypatch):
    """Set the folder of corpora, which need not exist."""
    monkeypatch.setenv("SPECTRON_DATA", "/corpora")


def header(file):
    """Return the comment lines at the top of a file, without their marks."""
    lines = file.read_text().splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return [line.removeprefix("# ") for line in lines[:end]]


def test_every_yaml_has_the_expected_kind():
    assert [name_of(file) for file in BASES] == [
        "baselines/units.yaml",
        "mini/base.yaml",
        "mini/baselines/audiolm_acoustic.yaml",
        "mini/baselines/base.yaml",
        "mini/baselines/units.yaml",
        "mini/encoder.yaml",
        "mini/few_questions.yaml",
        "mini/judges.yaml",
        "evaluation/judges_english.yaml",
        "evaluation/judges_mini.yaml",
    ]
    assert [name_of(file) for file in STUDIES] == [
        "mini/baselines/table.yaml",
        "mini/claims.yaml",
        "mini/speaking.yaml",
    ]
    assert [name_of(file) for file in SYSTEMS] == ["mini/baselines/audiolm.yaml"]
    assert len(RECIPES) == 56
    assert len(SUITES) == 11
    assert len(REFERENCE_CURVES) == 15


@pytest.mark.parametrize("file", BASES, ids=name_of)
def test_base_composes_without_a_name(file):
    assert compose(file).values.get("name") is None


@pytest.mark.parametrize("file", RECIPES, ids=name_of)
def test_recipe_passes_all_checks_before_building(file):
    assert Experiment.read(file).config["trainer"]["max_steps"] > 0


def test_recipe_names_are_unique():
    names = [yaml.safe_load(file.read_text())["name"] for file in RECIPES]
    assert len(set(names)) == len(names) == len(RECIPES)


@pytest.mark.parametrize("file", HEADED, ids=name_of)
def test_header_has_question_against_and_run(file):
    question, against, run = header(file)[:3]
    assert re.fullmatch(r"Question: \S.*[?.]", question)
    assert re.fullmatch(r"Against: \S.*\.", against)
    command = shlex.split(run.removeprefix("Run: ").replace("<", "").replace(">", "").replace("folder of corpora", ""))
    verb = "study" if file in STUDIES else "evaluate" if file in (*SYSTEMS, *SUITES) else "fit"
    assert command[-2 if file in SYSTEMS else -1] == file.relative_to(ROOT).as_posix()
    assert command[command.index("spectron") + 1] == verb


@pytest.mark.parametrize("file", BASES, ids=name_of)
def test_header_of_base_names_a_file_that_extends_it(file):
    base, run = header(file)
    assert re.fullmatch(r"Base: \S.*\.", base)
    user = ROOT / run.split()[-1]
    assert run.startswith("Run: a file that extends it, for example spectron ")
    assert file in compose(user).files


@pytest.mark.parametrize("file", [*HEADED, *BASES], ids=name_of)
def test_lines_have_at_most_120_characters(file):
    assert [line for line in file.read_text().splitlines() if len(line) > 120] == []


def test_headers_number_the_stages_in_the_order_of_make_sh():
    order = re.findall(r"^  (spectron\w*)\b", (EXPERIMENTS / "mini/weights/make.sh").read_text(), re.MULTILINE)
    assert len(order) == STAGES
    for stage, name in enumerate(order, 1):
        recipe = EXPERIMENTS / "mini" / f"{name}.yaml"
        text = header(recipe)[3]
        assert text.startswith(f"Stage {stage} of {STAGES} of the bundled model; starts from the export")
        if stage > 1:
            before = order[stage - 2]
            assert text.endswith(f" of stage {stage - 1}.")
            assert header(recipe)[1] == f"Against: stage {stage - 1}, {before}.yaml."
            assert compose(recipe).values["shared"]["start"] == f"runs/mini-{before.replace('_', '-')}/export"


def test_bundled_weights_are_below_40_mb():
    files = list((EXPERIMENTS / "mini" / "weights").rglob("*.safetensors"))
    assert len(files) == 14
    assert sum(file.stat().st_size for file in files) < 40e6
