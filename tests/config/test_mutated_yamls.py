"""Mutated experiments, suites, studies and systems: each is built, or refused with an error that a user can correct."""

import random
from contextlib import suppress

import pytest
import yaml
from mutations import mutated_document, mutated_text
from places import EXPERIMENTS
from talker import TALKER
from transformers import AutoModelForCausalLM

from spectron.config.yaml_text import read_yaml
from spectron.errors import ConfigError, SpectronError
from spectron.evaluation.study.study import Study
from spectron.evaluation.suites.suite import Suite
from spectron.evaluation.systems.under_test import find_system
from spectron.experiment.experiment import Experiment
from spectron.tracking.store import TrackingSettings

CASES, SEED = 150, 20

REST = """
seed: 3
data:
  class_path: spectron.datamodules.SpokenQADataModule
  init_args:
    manifest: questions.jsonl
    val_splits: [dev]
    batching: {batch_seconds: 32.0, num_workers: 0}
    text: {files: text.txt, ratio: 0.2}
trainer: {max_steps: 4, val_check_interval: 2, accelerator: cpu, max_time: "00:01:00:00", gradient_clip_val: 1.0}
checkpoints: {every_n_steps: 2, monitor: val/loss}
weights: {}
callbacks:
  speech:
    class_path: spectron.evaluation.callbacks.SpeechEvaluation
    init_args:
      panel_size: 4
      decoding: {max_seconds: 1.0, stop_threshold: 0.5, temperature: 0.0}
tracking: {folder: runs}
"""


SUITE = """
name: small
tasks:
  questions:
    class_path: spectron.evaluation.tasks.SpokenQuestions
    init_args:
      data: {class_path: spectron.datamodules.SpokenQADataModule, init_args: {manifest: x.jsonl, val_splits: [dev]}}
      num_items: 4
"""
STUDY = {
    "name": "small",
    "train": "train.yaml",
    "suite": "suite.yaml",
    "seeds": [1, 2],
    "columns": ["questions/qa_text_accuracy", "questions/length_ratio"],
    "rows": {
        "full": {"title": "whole"},
        "silent": {"title": "no text", "train": {"model": {"sequence": {"text": "empty"}}}, "published": 3.5},
        "short": {
            "title": "cut short",
            "trained_as": "full",
            "evaluate": {"tasks": {"questions": {"init_args": {"decoding": {"max_seconds": 0.1}}}}},
        },
    },
    "claims": [{"says": "Short is shorter", "row": "short", "measure": "questions/length_ratio", "expected": "worse"}],
    "tracking": {"folder": "runs"},
}


def _build_experiment(path):
    experiment = Experiment.read(path)
    experiment.data(), experiment.tracking(), experiment.trainer()
    experiment.module(), experiment.callbacks()


def _build_suite(path):
    suite = Suite.read(path)
    suite.judges(), suite.tasks(), suite.tracking()


def _read_study(path):
    study = Study(path)
    study.require_columns()
    study.tracking = TrackingSettings(folder=str(path.parent / "runs"))  # wherever the mutated one is
    for job in study.jobs()[:4]:
        job.fingerprint()


def _documents():
    """Return the document of each kind, and the function that reads its file."""
    experiment = yaml.safe_load(TALKER) | yaml.safe_load(REST)
    experiment["model"] |= {
        "optimisation": {"peak_learning_rate": 1e-3, "freeze": ["encoder.*"], "part_factors": {"head": 0.5}},
        "loss_weights": {"text": 1.0},
    }
    suite = read_yaml((EXPERIMENTS / "evaluation" / "mini.yaml").read_text()) | {
        "extends": str(EXPERIMENTS / "evaluation" / "judges_mini.yaml"),
    }
    system = {"shared": experiment["shared"]} | {
        "system": {"class_path": "spectron.model.SpectronModel", "init_args": yaml.safe_load(TALKER)["model"]}
    }
    return {
        "experiment": (experiment, _build_experiment),
        "suite": (suite, _build_suite),
        "study": (STUDY, _read_study),
        "system": (system, lambda path: find_system(str(path))),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty folder with the few files that the documents name, as the current folder."""
    (tmp_path / "text.txt").write_text("the cow says moo\nthe dog says woof\n")
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "train.yaml").write_text(TALKER + REST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_models(monkeypatch):
    """Let the library refuse language models of its default sizes, such as a Llama of seven billion parameters."""
    make = AutoModelForCausalLM.from_config

    def make_small(config, **arguments):
        if max(config.hidden_size, config.intermediate_size, 10 * config.num_hidden_layers) > 1000:
            raise ValueError("too large for a test")
        return make(config, **arguments)

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", make_small)


@pytest.mark.parametrize("kind", ["experiment", "suite", "study", "system"])
def test_document_itself_is_read(kind, folder):
    document, read = _documents()[kind]
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    read(path)


@pytest.mark.parametrize("kind", ["experiment", "suite", "study", "system"])
def test_mutated_document_is_built_or_refused(kind, folder, small_models):
    draw = random.Random(f"{kind} {SEED}")
    document, read = _documents()[kind]
    path = folder / "x.yaml"
    refused = 0
    for _ in range(CASES):
        path.write_text(mutated_document(document, draw), encoding="utf-8", errors="surrogatepass")
        try:
            read(path)
        except SpectronError:
            refused += 1
        except BaseException as error:
            pytest.fail(f"{type(error).__name__}: {error}\n{path.read_text(errors='replace')}")
    assert refused > CASES / 3


def test_mutated_text_is_read_or_refused():
    draw = random.Random(SEED)
    text = (EXPERIMENTS / "mini" / "base.yaml").read_text()
    for _ in range(500):
        with suppress(ConfigError):
            read_yaml(mutated_text(mutated_text(text, draw), draw))
