"""A judge of a new kind of evidence is one class in a user's file and one line of a YAML."""

import json
import os

import pytest
from places import ROOT

from spectron.cli.parser import main

EMOTIONS = """
import torch
from spectron.batch import Continuation
from spectron.contracts import SpokenLanguageModel
from spectron.evaluation.judges import SpeechJudge
from spectron.evaluation.metrics import MetricSpec, RatioMetric


class EmotionJudge(SpeechJudge):
    title = "EmotionJudge()"
    gives = frozenset({"emotion"})

    def __init__(self, calm_seconds: float = 0.5):
        super().__init__()
        self.calm_seconds = calm_seconds

    def load(self):
        pass

    def listen(self, waveforms, sample_rate_hz):
        calm = [len(row) / sample_rate_hz >= self.calm_seconds for row in waveforms]
        return [{"emotion": ("calm" if is_calm else "hasty") if row.any() else None}
                for row, is_calm in zip(waveforms, calm)]


class CalmShare(RatioMetric):
    label = MetricSpec("calm", "share", None)
    needs = frozenset({"emotion"})
    examples = {"emotion": ["calm", "hasty"]}
    skips = "no emotion"
    judges_speech = True

    def numerator_and_denominator(self, sample):
        emotion = self.evidence(sample, "emotion")
        return None if emotion is None else (float(emotion == "calm"), 1)


class Parrot(SpokenLanguageModel):
    def __init__(self):
        self.prompt_rate_hz = self.speech_rate_hz = 16000

    def continue_speech(self, prompts, decoding):
        rows = len(prompts.ids)
        return Continuation(prompts.ids, ["so"] * rows, ["so"] * rows, ["so"] * rows, prompts.waveform,
                            prompts.num_samples, 16000, torch.ones(rows, dtype=torch.bool))
"""
SUITE = """
name: NAME
judges: {emotion: {class_path: emotions.py:EmotionJudge}}
tasks:
  questions:
    class_path: spectron.evaluation.tasks.SpokenQuestions
    init_args:
      data:
        class_path: spectron.datamodules.SpokenQADataModule
        init_args: {manifest: MANIFEST, val_splits: [train], batching: {batch_seconds: 12.0}}
      metrics: [emotions.py:CalmShare, {class_path: emotions.py:CalmShare, init_args: {judge: strict}}]
      baselines: [silence]
      num_items: 4
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, small_corpus, runs):
    """Write the user's file and a suite, and work there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emotions.py").write_text(EMOTIONS)
    suite = SUITE.replace("NAME", tmp_path.name).replace("MANIFEST", str(small_corpus / "questions.jsonl"))
    (tmp_path / "suite.yaml").write_text(suite)
    (tmp_path / "parrot.yaml").write_text("system: {class_path: emotions.py:Parrot}\n")
    return tmp_path


def test_suite_computes_metric_of_custom_judges(folder):
    """Two judges of one class differ in their arguments; the second one names its metric."""
    strict = ["judges.strict.class_path=emotions.py:EmotionJudge", "judges.strict.init_args.calm_seconds=1000.0"]
    assert main(["evaluate", "parrot.yaml", "suite.yaml", *strict]) == 0
    (run,) = (folder.parent / os.environ["SPECTRON_RUNS"] / folder.name).iterdir()
    results = json.loads((run / "results.json").read_text())
    assert results["judges"]["emotion"]["title"] == "EmotionJudge()"
    systems = results["tasks"]["questions"]["systems"]
    lines = [json.loads(line) for line in (run / "items.jsonl").read_text().splitlines()]
    calm = [line["generated_seconds"] >= 0.5 for line in lines if line["system"] == "model"]
    assert systems["model"]["measures"]["calm"]["value"] == sum(calm) / 4
    assert systems["model"]["measures"]["calm_strict"]["value"] == 0.0
    silence = systems["silence"]["measures"]["calm"]
    assert (silence["count"], silence["skipped"], silence["skipped_because"]) == (0, 4, "no emotion")


def test_metric_that_names_missing_judge_stops_suite(folder, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 1
    assert "metrics.1.init_args.judge: CalmShare reads the judge `strict`" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["judge", "metric"])
def test_check_part_accepts_custom_judge_and_metric(folder, part, capsys):
    tiny = ROOT / "tests" / "experiments" / "tiny" / "tiny.yaml"
    parts = "judges: {emotion: emotions.py:EmotionJudge}, metrics: [emotions.py:CalmShare]"
    speech = (
        f"callbacks={{speech: {{class_path: spectron.evaluation.callbacks.SpeechEvaluation, init_args: {{{parts}}}}}}}"
    )
    assert main(["check", "--part", part, str(tiny), speech]) == 0
    printed = capsys.readouterr().out
    keys = {"judge": "judges.emotion: emotions.py:EmotionJudge", "metric": "metrics.0: emotions.py:CalmShare"}
    assert f"callbacks.speech.init_args.{keys[part]}" in printed.replace(f"{folder}/", "")
