"""Pages that readers follow step by step: their code, YAML and commands run, and print what the page shows."""

import json
from pathlib import Path

import pytest
import torch
from pages import DOCS, README, blocks, code_lines, doc, lay_out, section, type_commands
from prompts import syllables
from safetensors.torch import load_file
from short_runs import ONE_STEP, SHORT_PANEL

from spectron.audio.io import write_wav
from spectron.experiment.experiment import Experiment
from spectron.tracking.store import find_run

EXPERIMENT_OF = {
    "add_a_language_model": "bytes",
    "add_a_speech_head": "linear_head",
    "add_a_vocoder": "even_loudness",
    "add_a_segment": "loudness",
    "add_a_tokenizer": "loudness_units",
    "add_a_metric": "rate",
}


@pytest.fixture
def follow(tmp_path, monkeypatch, small_corpus, runs, capsys):
    """Return a function that follows a page in a new folder, with one short training step per fit."""
    manifest = f"data.init_args.manifest={small_corpus}/questions.jsonl"

    def run(text: str, *overrides: str) -> dict[str, str]:
        lay_out(text, tmp_path)
        monkeypatch.chdir(tmp_path)
        write_wav(tmp_path / "prompt.wav", syllables(1.0, 16000), 16000)
        short = [*ONE_STEP, *SHORT_PANEL, manifest, "data.init_args.corpus=null"]
        return type_commands(text, [*short, *overrides], capsys)

    return run


def test_every_add_page_is_followed():
    assert {path.stem for path in DOCS if path.stem.startswith("add_")} == set(EXPERIMENT_OF)


@pytest.mark.parametrize("page", EXPERIMENT_OF)
def test_add_page_runs_as_printed(page, follow, runs):
    printed = follow(doc(page))
    fitted = printed[f"spectron fit experiments/mini/{EXPERIMENT_OF[page]}.yaml"]
    assert "val/loss" in fitted
    if page == "add_a_metric":
        assert "val/words_per_second" in fitted
        check_words_per_second(runs)


def check_words_per_second(runs: Path) -> None:
    """Compare the metric of the page with the samples of the run's panel."""
    folder = next(runs.glob("mini-rate/*/panel")).parent
    samples = [json.loads(line) for line in next(folder.glob("panel/*/samples.jsonl")).read_text().splitlines()]
    spoken = [sample for sample in samples if sample["continuation_text"] and sample["generated_seconds"]]
    metrics = find_run("mini-rate").metrics
    assert metrics["val/words_per_second.count"] == len(spoken)
    words = sum(len(sample["continuation_text"].split()) for sample in spoken)
    seconds = sum(sample["generated_seconds"] for sample in spoken)
    assert metrics.get("val/words_per_second", 0.0) == pytest.approx(words / max(seconds, 1e-9), rel=1e-2)


def test_readme_encoder_runs_as_printed_in_ten_lines(follow):
    text = section(README.read_text(), "## Add an encoder")
    (code,) = blocks(text, "python")
    assert code_lines(code) <= 10
    printed = follow(text)
    assert "output_dim 96" in printed["spectron check experiments/mini/chunks.yaml"]
    assert "val/loss" in printed["spectron fit experiments/mini/chunks.yaml"]


def test_export_section_runs_as_printed(follow):
    text = section(doc("configuration"), "## Start another experiment from an export")
    printed = follow(text, "callbacks.speech=null")  # no judge takes part in an export
    assert "continuation.wav" in printed["spectron continue exported prompt.wav --max-seconds 2"]
    assert "val/loss" in printed["spectron fit experiments/mini/go_on.yaml"]
    small, whole, part = (
        Experiment.read(Path(f"experiments/mini/{name}.yaml")).module() for name in ("small", "go_on", "its_encoder")
    )
    exported = load_file("exported/encoder.safetensors")
    assert whole.optimisation.peak_learning_rate == 1e-4
    for encoder in (whole.model.encoder, part.model.encoder.encoder):
        assert all(torch.equal(tensor, exported[name]) for name, tensor in encoder.state_dict().items())
    stop_nets = [module.model.head.state_dict()["stop_net.weight"] for module in (small, whole, part)]
    assert torch.equal(stop_nets[1], load_file("exported/head.safetensors")["stop_net.weight"])
    assert torch.equal(stop_nets[0], stop_nets[2])
