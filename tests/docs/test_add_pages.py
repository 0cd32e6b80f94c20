"""Pages that are followed step by step work as printed: code, YAML, commands and what they print."""

import json
import re
from pathlib import Path

import pytest
import torch
from pages import ROOT, SHORT, lay_out, section, type_commands
from safetensors.torch import load_file

from spectron.audio.io import write_wav
from spectron.experiment.experiment import Experiment
from spectron.tracking.store import find_run

PAGES = {
    "add_a_language_model": "bytes",
    "add_a_speech_head": "linear_head",
    "add_a_vocoder": "even_loudness",
    "add_a_metric": "rate",
}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_run_as_printed(page, tmp_path, monkeypatch, small_corpus, runs, capsys):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    lay_out(text, tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = type_commands(text, [*SHORT, f"data.init_args.manifest={small_corpus}/questions.jsonl"], capsys)
    fitted = printed[f"spectron fit experiments/mini/{PAGES[page]}.yaml"]
    assert "val/loss" in fitted
    if page == "add_a_metric":
        assert "val/words_per_second" in fitted
        folder = next(runs.glob("mini-rate/*/panel")).parent
        samples = [json.loads(line) for line in next(folder.glob("panel/*/samples.jsonl")).read_text().splitlines()]
        spoken = [sample for sample in samples if sample["continuation_text"] and sample["generated_seconds"]]
        metrics = find_run("mini-rate").metrics
        assert metrics["val/words_per_second.count"] == len(spoken)
        words, seconds = (
            (sum(values) for values in zip(*[counted(sample) for sample in spoken], strict=True)) if spoken else (0, 1)
        )
        assert metrics.get("val/words_per_second", 0.0) == pytest.approx(words / seconds, rel=1e-2)


def test_the_section_on_exports_is_run_as_printed(tmp_path, monkeypatch, small_corpus, runs, capsys):
    text = section(ROOT / "docs" / "configuration.md", "## Start another experiment from an export")
    lay_out(text, tmp_path)
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "prompt.wav", 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0)), 16000)
    printed = type_commands(text, [*SHORT, f"data.init_args.manifest={small_corpus}/questions.jsonl"], capsys)
    assert "continuation.wav" in printed["spectron continue exported prompt.wav --max-seconds 2"]
    assert "val/loss" in printed["spectron fit experiments/mini/go_on.yaml"]
    small, whole, part = (
        Experiment.read(Path(f"experiments/mini/{name}.yaml")).module() for name in ("small", "go_on", "its_encoder")
    )
    exported = load_file("exported/encoder.safetensors")
    assert whole.optimisation.peak_learning_rate == 1e-4
    for encoder in (whole.model.encoder, part.model.encoder.encoder):
        assert all(torch.equal(tensor, exported[name]) for name, tensor in encoder.state_dict().items())
    spoken = [module.model.head.state_dict()["stop_net.weight"] for module in (small, whole, part)]
    assert torch.equal(spoken[1], load_file("exported/head.safetensors")["stop_net.weight"])
    assert torch.equal(spoken[0], spoken[2])


def counted(sample):
    """Words and seconds of a judged sample."""
    return len(sample["continuation_text"].split()), sample["generated_seconds"]


LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem
)
def test_pages_lead_to_each_other(page):
    linked = {(page.parent / target).resolve() for target in LINK.findall(page.read_text())}
    assert all(target.exists() for target in linked)
    pages = set((ROOT / "docs").glob("*.md"))
    assert linked >= pages if page.name == "README.md" else len(linked & pages) >= 3


def test_every_such_page_is_run():
    assert {path.stem for path in (ROOT / "docs").glob("add_*.md")} == set(PAGES)
