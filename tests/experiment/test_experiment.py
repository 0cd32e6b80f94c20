"""Runs of a small experiment: their records, resuming, and models rebuilt from their checkpoints."""

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from places import TINY
from safetensors.torch import save_file
from torch import nn

from spectron.errors import CheckpointError, ConfigError, DataError, TrackingError
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import evaluate, fit, inspect_experiment
from spectron.experiment.loading import CONFIG_KEY, find_source, load_experiment, load_module, read_config
from spectron.tracking.provenance import git_state, parameter_counts
from spectron.tracking.store import TrackingSettings, find_run, list_runs, open_store
from spectron.weights.checkpoint_files import DIGEST, read_checkpoint
from spectron.weights.exporting import export_parts


@pytest.fixture(scope="module")
def first(runs):
    """A finished run of four steps."""
    return fit(Experiment.read(TINY))


def state_of(outcome):
    return torch.load(outcome.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_run_records_config_facts_and_params(first):
    config = yaml.safe_load((first.folder / "config.yaml").read_text())
    facts = json.loads((first.folder / "facts.json").read_text())
    record = find_run(first.run_id)
    assert config == Experiment.read(TINY).config
    assert record.params["model.end.init_args.slope"] == "2.0"
    assert record.status == "FINISHED"
    assert facts["packages"]["torch"] == version("torch")
    assert facts["data"] == {"numbers": "0123abc"}
    counts = {"start": {"trainable": 20, "frozen": 0}, "end": {"trainable": 5, "frozen": 0}}
    assert facts["parameters"] == {"trainable_share": 1.0, **counts}
    assert record.tags["spectron.data.numbers"] == "0123abc"


def test_outcome_holds_last_validation(first):
    (measure,) = first.measures
    assert measure.name == "val/loss"
    assert find_run(first.run_id).metrics["val/loss"] == pytest.approx(measure.value)
    assert first.run_id in first.ui_command


def test_building_leaves_config_unchanged(runs):
    experiment = Experiment.read(TINY, ["callbacks.stop.class_path=lightning.pytorch.callbacks.Timer"])
    before = json.dumps(experiment.config)
    experiment.module(), experiment.data(), experiment.callbacks(), experiment.trainer()
    assert json.dumps(experiment.config) == before


@pytest.mark.parametrize(("shown", "bars"), [("true", ["Progress"]), ("false", [])])
def test_progress_bar_is_ours_or_none(runs, shown, bars):
    trainer = Experiment.read(TINY, [f"trainer.enable_progress_bar={shown}"]).trainer()
    assert [type(callback).__name__ for callback in trainer.callbacks if "Progress" in type(callback).__name__] == bars


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["trainer.strategy=ddp_spawn"], "trainer.strategy"),
        (["trainer.strategy=ddp_find_unused_parameters_false"], "trainer.strategy"),
        (["trainer.val_check_interval='00:00:10:00'"], "trainer.val_check_interval"),
    ],
)
def test_settings_by_which_processes_would_differ_refused(changes, key):
    with pytest.raises(ConfigError) as caught:
        Experiment.read(TINY, ["trainer.devices=2", *changes]).trainer()
    assert caught.value.key == key


def test_same_seed_builds_same_module():
    one, same, other = (Experiment.read(TINY, [f"seed={seed}"]).module().state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_resumed_run_equals_uninterrupted_run(first):
    """Four steps and then four more give the same weights as eight steps, bit by bit, in one run."""
    before = len(list_runs("tiny"))
    resumed = fit(Experiment.read(TINY, ["trainer.max_steps=8", "name=tiny"]), resume=first.run_id[:8])
    whole = fit(Experiment.read(TINY, ["trainer.max_steps=8"]))
    assert resumed.run_id == first.run_id
    assert len(list_runs("tiny")) == before + 1
    one, other = state_of(resumed), state_of(whole)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_resume_with_changed_config_refused(first):
    changed = Experiment.read(
        TINY, ["model.speed.rate=0.5", "data.init_args.source=letters", "trainer.val_check_interval=1"]
    )
    with pytest.raises(
        ConfigError, match=r"(?s)data\.init_args\.source: numbers -> letters.*model\.speed\.rate: 0\.01 -> 0\.5"
    ) as caught:
        fit(changed, resume=first.run_id)
    assert "val_check_interval" not in str(caught.value)


def test_resume_without_run_refused(first):
    with pytest.raises(TrackingError, match=r"no experiment 'tinny'.*did you mean `tiny`"):
        fit(Experiment.read(TINY, ["name=tinny"]), resume="")
    with pytest.raises(TrackingError, match="no run 'nonsense'"):
        fit(Experiment.read(TINY), resume="nonsense")


def test_load_module_from_run_checkpoint_folder(first):
    checkpoint = first.folder / "checkpoints" / "last.ckpt"
    state = state_of(first)
    for reference in (first.run_id, str(checkpoint), str(first.folder)):
        module = load_module(reference, trust=True)
        assert not module.training
        assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    assert read_config(checkpoint)["name"] == "tiny"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["state_dict"].pop("model.end.linear.bias"), r"missing.*model\.end\.linear\.bias"),
        (lambda c: c["state_dict"].update(extra=torch.zeros(1)), r"left over.*extra"),
        (
            lambda c: c["state_dict"].update({"model.end.linear.bias": torch.zeros(2)}),
            r"model\.end\.linear\.bias is \(2,\), not \(1,\)",
        ),
        (lambda c: c.pop(CONFIG_KEY), "holds no configuration"),
    ],
)
def test_incomplete_checkpoint_refused(first, tmp_path, change, message):
    checkpoint = torch.load(first.folder / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint[DIGEST]  # changed on purpose
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_module(str(tmp_path / "changed.ckpt"), trust=True)


def test_find_source_unknown_reference_refused(first, tmp_path):
    with pytest.raises(CheckpointError, match="neither a checkpoint nor an exported model"):
        find_source(str(tmp_path))
    with pytest.raises(CheckpointError, match="there is no file"):
        find_source(str(tmp_path / "x.ckpt"))
    with pytest.raises(TrackingError, match=r"no run 'tinyy'.*did you mean `tiny`"):
        find_source("tinyy")
    with pytest.raises(TrackingError, match=r"no run 'Mimi'.*The bundled model is called mini"):
        find_source("Mimi")


def test_loading_recipe_warns_of_untrained_parts(first, tmp_path, caplog):
    trained = load_module(first.run_id, trust=True)
    config = yaml.safe_load((first.folder / "config.yaml").read_text())
    export_parts(trained.model, config, tmp_path / "exported")
    load_module(str(tmp_path / "exported"), trust=True)
    assert not caplog.records
    load_module(str(TINY), trust=True)
    assert f"{TINY} gives no weights for start, end: they have learnt nothing yet" in caplog.text


def test_weights_must_cover_part(tmp_path):
    part = nn.Linear(4, 1)
    save_file({f"linear.{key}": value for key, value in part.state_dict().items()}, tmp_path / "end.safetensors")
    weights = f"weights.end={tmp_path / 'end.safetensors'}"
    module = Experiment.read(TINY, [weights]).module()
    assert torch.equal(module.model["end"].linear.weight, part.weight)
    with pytest.raises(
        CheckpointError, match=r"weights\.end: .*differ in shape.*linear\.weight is \(1, 4\), not \(1, 5\)"
    ):
        Experiment.read(TINY, [weights, "model.width=5"]).module()
    with pytest.raises(ConfigError, match=r"weights\.ende: the model has no such part\. Did you mean `end`"):
        Experiment.read(TINY, [weights.replace("end=", "ende=", 1)]).module()


def test_evaluate_repeats_validation_in_same_run(first):
    source = find_source(first.run_id)
    again = evaluate(load_experiment(source, trust=True), source, changed=False)
    validated = load_module(source, trust=True).loss(torch.ones(2, 4)).item()
    assert again.run_id == first.run_id
    assert again.measures[0].value == pytest.approx(validated)
    assert find_run(first.run_id).status == "FINISHED"


def test_evaluate_with_overrides_makes_new_run(first):
    source = find_source(first.run_id)
    other = evaluate(load_experiment(source, ["data.init_args.source=letters"], trust=True), source, changed=True)
    record = find_run(other.run_id)
    assert (record.experiment, record.params["data.init_args.source"]) == ("tiny-evaluation", "letters")
    assert record.tags["spectron.evaluates"] == str(source.path)
    trained, evaluated = (
        open_store(TrackingSettings()).get_metric_history(run, "val/loss") for run in (first.run_id, other.run_id)
    )
    assert [metric.step for metric in evaluated] == [trained[-1].step], "metrics belong to the step of the checkpoint"
    assert trained[-1].step >= read_checkpoint(source.path)["global_step"] - 1 > 0


def test_unlogged_monitor_refused(runs):
    before = len(list_runs())
    with pytest.raises(ConfigError, match=r"checkpoints\.monitor: nothing logs `val/los`\. Did you mean `val/loss`"):
        fit(Experiment.read(TINY, ["checkpoints.monitor=val/los"]))
    assert len(list_runs()) == before, "a mistake found before training leaves no run behind"


def test_refused_value_names_key():
    with pytest.raises(ConfigError, match="TinyTask: width must not be 13") as raised:
        Experiment.read(TINY, ["model.width=13"]).module()
    assert (raised.value.key, raised.value.origin) == ("model", str(TINY))


def test_optional_part_error_names_its_key():
    judge = "callbacks.speech.init_args.judges.text_scorer"
    overrides = ["callbacks.speech.class_path=spectron.evaluation.callbacks.SpeechEvaluation"]
    overrides += [
        f"{judge}.class_path=spectron.evaluation.judges.TransformersTextScorer",
        f"{judge}.init_args.source=/nowhere/at/all",
    ]
    with pytest.raises(
        ConfigError,
        match=rf"^{re.escape(judge)}\.init_args\.source: there is no folder /nowhere/at/all",
    ):
        Experiment.read(TINY, overrides).callbacks()


def test_data_prepared_before_parts_are_built(monkeypatch):
    """A tokenizer may be trained on text that the data module writes."""
    order = []
    experiment = Experiment.read(TINY)
    data, module = experiment.data(), experiment.module
    monkeypatch.setattr(data, "prepare_data", lambda: order.append("data"))
    monkeypatch.setattr(experiment, "data", lambda: data)
    monkeypatch.setattr(experiment, "module", lambda *args, **kwargs: order.append("module") or module(*args, **kwargs))
    inspect_experiment(experiment)
    assert order[:2] == ["data", "module"]


def test_inspect_counts_parameters_and_shapes():
    counts, shapes = inspect_experiment(Experiment.read(TINY))
    assert counts == {"start": (20, 0), "end": (5, 0)}
    assert shapes == {"numbers (B, 4)": (3, 4)}


def test_shared_parameters_counted_once():
    model = nn.Module()
    model.scale = nn.Parameter(torch.zeros(2))
    model.one, model.two = nn.Linear(3, 1), nn.Linear(3, 1)
    model.two.weight = model.one.weight
    model.one.bias.requires_grad_(False)
    assert parameter_counts(model) == {"Module": (2, 0), "one": (3, 1), "two": (1, 0)}


def test_git_state_commit_changes_untracked(tmp_path):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_state(tmp_path) == ("", "")
    git("init", "-q")
    (tmp_path / "a.py").write_text("one\n")
    git("add", "a.py")
    git("commit", "-qm", "first")
    assert git_state(tmp_path) == (git("rev-parse", "HEAD"), "")
    (tmp_path / "a.py").write_text("two\n")
    (tmp_path / "b.py").write_text("new\n")
    patch = git_state(tmp_path)[1]
    assert "-one\n+two\n" in patch
    assert patch.endswith("# not in git: b.py\n")


def test_data_changed_since_run_started_are_not_resumed(first, monkeypatch):
    """Other transcripts in the same manifest: the run is refused, and its stored hash stays."""
    experiment = Experiment.read(TINY, ["trainer.max_steps=10"])
    monkeypatch.setattr(type(experiment.data()), "fingerprint", lambda self: {"numbers": "4567def"})
    with pytest.raises(DataError) as error:
        fit(experiment, resume=first.run_id)
    assert error.value.file == Path("numbers")
    assert json.loads((first.folder / "facts.json").read_text())["data"] == {"numbers": "0123abc"}
    assert find_run(first.run_id).tags["spectron.data.numbers"] == "0123abc"


def test_evaluation_on_changed_data_goes_to_new_run(first, monkeypatch):
    source = find_source(first.run_id)
    experiment = load_experiment(source, trust=True)
    assert evaluate(experiment, source, changed=False).run_id == first.run_id
    monkeypatch.setattr(type(experiment.data()), "fingerprint", lambda self: {"numbers": "4567def"})
    assert evaluate(load_experiment(source, trust=True), source, changed=False).run_id != first.run_id
