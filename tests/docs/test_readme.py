"""What the README says is so: its commands exist, its encoder works as printed, its YAMLs compose."""

import re

import pages
import pytest
from pages import SHORT, code_lines, lay_out, section, type_commands
from places import ROOT

from spectron.cli.parser import parse
from spectron.experiment.experiment import Experiment

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", README))
    assert named
    assert named <= targets


def test_every_verb_exists():
    verbs = {verb for verb in re.findall(r"spectron ([a-z]+)", README) if verb != "prepare"}
    for verb in verbs:
        with pytest.raises(SystemExit) as stop:
            parse([verb, "--help"])
        assert stop.value.code == 0


@pytest.mark.parametrize("path", re.findall(r"(?:experiments|docs)/[\w/]+\.(?:yaml|md)", README))
def test_every_file_named_exists_or_is_the_users_own(path):
    own = {f"experiments/mini/{name}.yaml" for name in ("chunks", "frame_stack")}
    assert path in own or (ROOT / path).is_file()


def test_the_encoder_page_is_run_as_printed(tmp_path, monkeypatch, small_corpus, runs, capsys):
    page = section(ROOT / "README.md", "## Add an encoder")
    (code,) = pages.blocks(page, "python")
    assert code_lines(code) <= 10
    lay_out(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = type_commands(page, [*SHORT, f"data.init_args.manifest={small_corpus}/questions.jsonl"], capsys)
    assert "output_dim 96" in printed["spectron check experiments/mini/chunks.yaml"]
    assert "val/loss" in printed["spectron fit experiments/mini/chunks.yaml"]


def test_the_first_delta_of_the_readme_composes(tmp_path):
    yaml = next(block for block in blocks("yaml") if "FrameStackEncoder" in block)
    file = tmp_path / "frame_stack.yaml"
    file.write_text(yaml.replace("extends: small.yaml", f"extends: {ROOT}/experiments/mini/small.yaml"))
    assert Experiment.read(file).config["model"]["encoder"]["class_path"] == "spectron.encoders.FrameStackEncoder"
