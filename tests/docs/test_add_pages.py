"""The pages that add a part of one's own work as printed: code, YAML, commands and what they print."""

import json
import re

import pytest
from pages import ROOT, SHORT, lay_out, type_commands

from spectron.runs import find_run

PAGES = {"add_a_language_model": "bytes", "add_a_speech_head": "linear_head", "add_a_vocoder": "even_loudness", "add_a_metric": "rate"}


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
        words, seconds = (sum(values) for values in zip(*[counted(sample) for sample in spoken], strict=True)) if spoken else (0, 1)
        assert metrics.get("val/words_per_second", 0.0) == pytest.approx(words / seconds, rel=1e-2)


def counted(sample):
    """Words and seconds of a judged sample."""
    return len(sample["continuation_text"].split()), sample["generated_seconds"]


LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.stem)
def test_pages_lead_to_each_other(page):
    linked = {(page.parent / target).resolve() for target in LINK.findall(page.read_text())}
    assert all(target.exists() for target in linked)
    pages = set((ROOT / "docs").glob("*.md"))
    assert linked >= pages if page.name == "README.md" else len(linked & pages) >= 3


def test_every_such_page_is_run():
    assert {path.stem for path in (ROOT / "docs").glob("add_*.md")} == set(PAGES)
