"""What the README says is so: its commands exist, its encoder works as printed, its YAMLs compose."""

import json
import re
from pathlib import Path

import pytest
import torch

from spectron.cli import parse
from spectron.experiment import Experiment
from spectron.fitting import fit, inspect_experiment

ROOT = Path(__file__).parents[1]
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
    own = {f"experiments/mini/{name}.yaml" for name in ("chunks", "frame_stack", "rate")}
    assert path in own or (ROOT / path).is_file()


def test_the_encoder_of_the_readme_is_plugged_in(tmp_path, monkeypatch, small_corpus):
    code = next(block for block in blocks("python") if "ChunkEncoder" in block)
    yaml = next(block for block in blocks("yaml") if "my_encoder" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    (tmp_path / "my_encoder.py").write_text(code)
    file = tmp_path / "chunks.yaml"
    file.write_text(yaml.replace("extends: demo.yaml", f"extends: {ROOT}/experiments/mini/demo.yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    overrides = [f"data.init_args.manifest={small_corpus}/questions.jsonl", "data.init_args.corpus=null"]
    counts, shapes = inspect_experiment(Experiment.read(file, overrides))
    assert counts["encoder"] == (640 * 64 + 64, 0)
    prompt, prefix = shapes["prompt (B, S)"], shapes["prefix (B, U, D)"]
    assert prefix[1] == -(-prompt[1] // 640)
    import my_encoder

    encoder = my_encoder.ChunkEncoder(8).eval()
    waveform, lengths = torch.randn(2, 3000), torch.tensor([3000, 1000])
    waveform[1, 1000:] = 0
    features, steps = encoder(waveform, lengths)
    alone, _ = encoder(waveform[1:, :1000], lengths[1:])
    torch.testing.assert_close(features[1, : steps[1]], alone[0])


def test_the_metric_of_the_readme_measures(tmp_path, monkeypatch, small_corpus):
    (tmp_path / "my_metric.py").write_text(next(block for block in blocks("python") if "SpeakingRate" in block))
    yaml = next(block for block in blocks("yaml") if "SpeakingRate" in block)
    file = tmp_path / "rate.yaml"
    file.write_text(yaml.replace("extends: demo.yaml", f"extends: {ROOT}/experiments/mini/demo.yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    short = [
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "trainer.limit_val_batches=1",
        "callbacks.speech.init_args.panel_size=2",
    ]
    overrides = [*short, f"data.init_args.manifest={small_corpus}/questions.jsonl", "data.init_args.corpus=null"]
    outcome = fit(Experiment.read(file, overrides))
    rate = next(measure for measure in outcome.measures if measure.name == "val/words_per_second")
    samples = [json.loads(line) for line in next(outcome.folder.glob("panel/*/samples.jsonl")).read_text().splitlines()]
    spoken = [sample for sample in samples if sample["continuation_text"]]
    words, seconds = sum(len(s["continuation_text"].split()) for s in spoken), sum(s["generated_seconds"] for s in spoken)
    assert rate.count == len(spoken)
    assert rate.value == pytest.approx(words / seconds, rel=1e-2) or not spoken


def test_the_first_delta_of_the_readme_composes(tmp_path):
    yaml = next(block for block in blocks("yaml") if "FrameStackEncoder" in block)
    file = tmp_path / "frame_stack.yaml"
    file.write_text(yaml.replace("extends: demo.yaml", f"extends: {ROOT}/experiments/mini/demo.yaml"))
    assert Experiment.read(file).config["model"]["encoder"]["class_path"] == "spectron.encoders.FrameStackEncoder"
