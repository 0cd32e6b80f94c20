"""Suites from the command line: files, resuming, several processes, failures of items, and invalid suites."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch

from spectron.cli.parser import main
from spectron.evaluation.report import read_evaluation
from spectron.evaluation.results.records import Stopwatch
from spectron.evaluation.results.summary import sha256_of
from spectron.tracking.store import list_runs

PARTS = '''
import os
from pathlib import Path
import torch
from spectron.evaluation.judges import QualityPredictor, Transcriber
from spectron.batch import Continuation
from spectron.contracts import SpokenLanguageModel


class Parrot(SpokenLanguageModel):
    """Returns the first half of the prompt, with a text as long as it is; fails or stops on a given item."""

    def __init__(self, fails_on: str = "", stops_at: str = "") -> None:
        self.prompt_rate_hz, self.speech_rate_hz, self.fails_on, self.stops_at = 16000, 16000, fails_on, stops_at

    def continue_speech(self, prompts, decoding):
        if self.fails_on and self.fails_on in prompts.ids:
            raise RuntimeError(f"{self.fails_on} is too much for me")
        if self.stops_at in prompts.ids and Path("stop").exists():
            Path("stop").unlink()
            raise KeyboardInterrupt
        half = prompts.num_samples // 2
        waveform = prompts.waveform[:, : int(half.max())]
        said = [f"word {'word ' * (int(n) // 16000)}".strip() for n in half]
        rows = len(said)
        return Continuation(
            prompts.ids, said, ["what"] * rows, said, waveform, half, 16000, torch.ones(rows, dtype=torch.bool),
        )


class Seconds(Transcriber):
    """Returns one word, and another one for every full second."""

    def __init__(self, there: bool = True) -> None:
        super().__init__()
        self.there, self.weight = there, torch.nn.Parameter(torch.ones(3))

    title = "Seconds()"

    def load(self):
        if not self.there:
            from spectron.errors import ConfigError
            raise ConfigError("the weights are not here", key="there")

    def transcribe(self, waveforms, sample_rate_hz):
        return [" ".join(["word"] * (1 + len(w) // sample_rate_hz)) for w in waveforms]
'''

ABSENT = """

class Critic(QualityPredictor):
    title = "Critic()"

    def missing(self):
        return "the critic is on holiday: call her back"

    def load(self):
        raise RuntimeError

    def rate(self, waveforms, sample_rate_hz):
        raise RuntimeError
"""

SUITE = """
name: NAME
judges: {recogniser: {class_path: parts.py:Seconds}}
tasks:
  questions:
    class_path: spectron.evaluation.tasks.SpokenQuestions
    init_args:
      data:
        class_path: spectron.datamodules.SpokenQADataModule
        init_args: {manifest: MANIFEST, val_splits: [train, unseen_speakers], batching: {batch_seconds: 12.0}}
      num_items: 12
  continuation:
    class_path: spectron.evaluation.tasks.Continuation
    init_args:
      data:
        class_path: spectron.datamodules.ContinuationDataModule
        init_args: {manifest: CARRIERS, val_split: dev, splitting: {prompt_seconds: 0.6, min_continuation_seconds: 0.3}}
      baselines: [recording, silence]
"""


@pytest.fixture
def place(tmp_path, small_corpus, monkeypatch, runs):
    """The current folder, with a suite, its parts and the YAML of a system."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts.py").write_text(PARTS)
    text = SUITE.replace("NAME", tmp_path.name)
    for name, file in {"MANIFEST": "questions.jsonl", "CARRIERS": "carriers.jsonl"}.items():
        text = text.replace(name, str(small_corpus / file))
    (tmp_path / "suite.yaml").write_text(text)
    (tmp_path / "parrot.yaml").write_text("system: {class_path: parts.py:Parrot}\n")
    return tmp_path


def evaluations(place: Path) -> list[Path]:
    return sorted((Path(os.environ["SPECTRON_RUNS"]) / place.name).glob("*"), key=lambda folder: folder.stat().st_mtime)


def results_of(folder: Path) -> dict:
    return read_evaluation(folder).results


def without_times(folder: Path) -> str:
    results = results_of(folder)
    del results["times"]
    return json.dumps(results, indent=1)


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def test_evaluate_writes_results_items_audio_and_report(place, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    printed = capsys.readouterr().out
    (folder,) = evaluations(place)
    results, lines = results_of(folder), lines_of(folder)
    questions = results["tasks"]["questions"]["systems"]
    assert list(questions) == ["model", "recording", "silence", "shuffled"], "vocoded needs a vocoder"
    assert list(results["tasks"]["continuation"]["systems"]) == ["model", "recording", "silence"]
    own = [line for line in lines if (line["task"], line["system"]) == ("questions", "model")]
    assert len(own) == 12 == questions["model"]["items"]
    # The system returns half of the prompt, and the judge recognises exactly the text that it wrote.
    for line in own:
        assert line["generated_seconds"] == pytest.approx(line["prompt_seconds"] / 2, abs=1e-3)
        assert line["parts"]["speech_wer"] == [0, len(line["continuation_text"].split())]
    assert questions["model"]["measures"]["speech_wer"]["value"] == 0
    ratio = sum(line["generated_seconds"] for line in own) / sum(line["reference_seconds"] for line in own)
    assert questions["model"]["measures"]["length_ratio"]["value"] == pytest.approx(ratio, abs=2e-3)
    assert {"qa_accuracy/train", "qa_accuracy/unseen_speakers"} <= questions["model"]["measures"].keys()
    # The text of silence is empty, so its word errors cannot be counted.
    silence = questions["silence"]["measures"]["speech_wer"]
    assert (silence["value"], silence["count"], silence["skipped"]) == (None, 0, 12)
    assert silence["skipped_because"]
    for line in lines:
        itself = line["audio"]["generated"] == line["audio"].get("reference")
        assert itself == (line["system"] == "recording"), "an answer equal to the reference is written once"
        assert (line["transcript"] is None) == (line["system"] != "model")
    wav, rate = soundfile.read(folder / own[0]["audio"]["generated"])
    assert len(wav) / rate == pytest.approx(own[0]["generated_seconds"], abs=1e-3)
    assert results["judges"]["recogniser"]["title"] == "Seconds()"
    assert len(results["judges"]["recogniser"]["weights_sha256"]) == 64
    assert (folder / "report.html").stat().st_size > 0
    assert "speech_wer" in printed
    assert "report.html" in printed


def test_shuffled_answers_are_recordings_of_other_items(place):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    lines = lines_of(evaluations(place)[0])
    said = {line["id"]: (line["continuation_text"], line["speaker"]) for line in lines if line["system"] == "recording"}
    shuffled = [line for line in lines if line["system"] == "shuffled"]
    assert len(shuffled) == 12
    texts = {text for text, _ in said.values()}
    assert all(line["continuation_text"] in texts for line in shuffled)
    assert sum(line["continuation_text"] != said[line["id"]][0] for line in shuffled) > 6


def test_repeated_evaluation_writes_equal_files(place):
    for _ in range(2):
        assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    first, second = evaluations(place)
    assert without_times(first) == without_times(second)
    assert (first / "items.jsonl").read_bytes() == (second / "items.jsonl").read_bytes()


def test_resumed_evaluation_writes_equal_files(place, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    (whole,) = evaluations(place)
    last = [line["id"] for line in lines_of(whole) if (line["task"], line["system"]) == ("questions", "model")][-1]
    (place / "parrot.yaml").write_text(f"system: {{class_path: parts.py:Parrot, init_args: {{stops_at: '{last}'}}}}\n")
    (place / "stop").touch()
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 130
    cut = evaluations(place)[-1]
    assert f"--resume {cut.name}" in capsys.readouterr().err
    with (cut / "work" / "rank-0.jsonl").open("a") as file:
        file.write('{"key": ["questions", "model", 99], "li')  # an incomplete line of a killed process
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "--resume"]) == 0
    assert len(evaluations(place)) == 2, "it resumed its own run"
    assert without_times(cut) == without_times(whole)
    assert (cut / "items.jsonl").read_bytes() == (whole / "items.jsonl").read_bytes()


def test_evaluation_stopped_by_full_disk_is_resumed(place, capsys, monkeypatch):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    (whole,) = evaluations(place)
    stored = []

    def fill(file):
        stored.append(file)
        if len(stored) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("spectron.evaluation.results.records.os.fsync", fill)
        assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 1
    cut = evaluations(place)[-1]
    printed = capsys.readouterr().err
    assert f"{cut / 'work' / 'rank-0.jsonl'}" in printed
    assert f"--resume {cut.name}" in printed
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "--resume", cut.name]) == 0
    assert (cut / "items.jsonl").read_bytes() == (whole / "items.jsonl").read_bytes()


def test_resume_with_other_settings_refused(place, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "seed=3", "--resume"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("seed: 17 -> 3") == 1
    assert "the finished evaluation" in printed
    assert "name an older evaluation (--resume RUN)" in printed


def test_metric_named_as_in_tables_suggests_its_class(place, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "tasks.questions.init_args.metrics=[qa_acuracy]"]) == 1
    assert "Did you mean `spectron.evaluation.metrics.SpokenAnswerAccuracy`?" in capsys.readouterr().err


def test_two_processes_write_equal_files(place):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    (alone,) = evaluations(place)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "spectron.cli.parser"]
    done = subprocess.run(
        [*command, "evaluate", "parrot.yaml", "suite.yaml"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shared = evaluations(place)[-1]
    assert {file.name for file in (shared / "work").glob("*.jsonl")} == {"rank-0.jsonl", "rank-1.jsonl"}
    assert without_times(alone) == without_times(shared)
    assert (alone / "items.jsonl").read_bytes() == (shared / "items.jsonl").read_bytes()


def test_failing_item_is_only_failure(place):
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    (whole,) = evaluations(place)
    lines = [line for line in lines_of(whole) if (line["task"], line["system"]) == ("questions", "model")]
    name = lines[3]["id"]
    (place / "parrot.yaml").write_text(f"system: {{class_path: parts.py:Parrot, init_args: {{fails_on: '{name}'}}}}\n")
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 0
    found = results_of(evaluations(place)[-1])["tasks"]["questions"]["systems"]["model"]
    assert found["items"] == 12
    assert found["failures"] == [{"id": name, "reason": f"RuntimeError: {name} is too much for me"}]
    assert found["measures"]["speech_wer"]["count"] == 11
    others = [
        line for line in lines_of(evaluations(place)[-1]) if (line["task"], line["system"]) == ("questions", "model")
    ]
    kept = {line["id"]: line["parts"] for line in others if line["failure"] is None}
    assert kept == {line["id"]: line["parts"] for line in lines if line["id"] != name}


def test_broken_recording_is_failure_with_reason(place, small_corpus):
    rows = [json.loads(line) for line in (small_corpus / "carriers.jsonl").read_text().splitlines()]
    for row in rows:
        row["audio_filepath"] = str(small_corpus / row["audio_filepath"])
    broken = next(row for row in rows if row["split"] == "dev")
    samples, rate = soundfile.read(broken["audio_filepath"])
    samples[100] = float("nan")
    soundfile.write(place / "broken.wav", samples, rate, subtype="FLOAT")
    broken["audio_filepath"] = "broken.wav"
    (place / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    key = "tasks.continuation.init_args.data.init_args.manifest=some.jsonl"
    assert main(["evaluate", "parrot.yaml", "suite.yaml", key]) == 0
    found = results_of(evaluations(place)[0])["tasks"]["continuation"]["systems"]["model"]
    assert [failure["id"] for failure in found["failures"]] == [broken["id"]]
    assert "not finite" in found["failures"][0]["reason"]


def test_unloadable_judge_refused_before_first_item(place, capsys):
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "judges.recogniser.init_args.there=false"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "spectron: error: judges.recogniser.init_args.there: the weights are not here (in the command line)"
    )
    assert evaluations(place) == []


def test_missing_quality_predictor_skips_its_metric(place):
    (place / "parts.py").write_text(PARTS + ABSENT)
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "judges.quality_predictor.class_path=parts.py:Critic"]) == 0
    results = results_of(evaluations(place)[0])
    assert results["judges"]["quality_predictor"] == {
        "title": "Critic()",
        "missing": "the critic is on holiday: call her back",
    }
    found = results["tasks"]["questions"]["systems"]["model"]["measures"]["predicted_mos"]
    assert (found["value"], found["count"], found["skipped"]) == (None, 0, 12)
    assert found["skipped_because"] == "the critic is on holiday: call her back"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "judges.recognisr.init_args.there=true",
            "there is no `recognisr` to change, and a new one needs a class_path",
        ),
        ("tasks.questions.init_args.num_itms=3", "Did you mean `num_items`?"),
        ("tasks.questions.init_args.num_items=0", "num_items: must be at least 1"),
        ("tasks.questions.init_args.data.class_path=spectron.datamodules.TextDataModule", "needs `train`"),
        ("sed=1", "Did you mean `seed`?"),
        (
            "tasks.questoins.init_args.num_items=3",
            "there is no `questoins` to change, and a new one needs a class_path. Did you mean `questions`?",
        ),
        (
            "tasks.questions.init_args.data.init_args.manifest=no.jsonl",
            ": tasks.questions.init_args.data.init_args.manifest: there is",
        ),
        (
            "tasks.continuation.init_args.metrics=[spectron.evaluation.metrics.PredictedMos]",
            "error: tasks.continuation.init_args.metrics: PredictedMos needs quality, and the judges give transcript",
        ),
    ],
)
def test_invalid_suite_refused_with_key(place, capsys, override, message):
    assert main(["evaluate", "parrot.yaml", "suite.yaml", override]) == 1
    assert message in capsys.readouterr().err
    assert evaluations(place) == []


def test_null_task_left_out(place):
    assert main(["evaluate", "parrot.yaml", "suite.yaml", "tasks.questions=null"]) == 0
    assert list(results_of(evaluations(place)[0])["tasks"]) == ["continuation"]


def test_stopwatch_sums_resumed_times(tmp_path):
    (tmp_path / "times.json").write_text('{"started": "2020-01-01T00:00:00+00:00", "seconds": 100.0}')
    watch = Stopwatch(tmp_path / "times.json")
    watch.keep()
    kept = json.loads((tmp_path / "times.json").read_text())
    assert (kept["started"], 100.0 <= kept["seconds"] < 101.0) == ("2020-01-01T00:00:00+00:00", True)
    new = Stopwatch(tmp_path / "other.json")
    assert (new.times()["started"] > "2026", new.times()["seconds"] < 1.0) == (True, True)


def test_failure_of_all_items_is_error(place, capsys):
    (place / "parts.py").write_text(PARTS.replace("half = prompts.num_samples // 2", "raise OSError('no voice')"))
    assert main(["evaluate", "parrot.yaml", "suite.yaml"]) == 1
    assert "every item failed" in (error := capsys.readouterr().err)
    assert "no voice" in error
    assert list_runs()[0].status == "FAILED", "the run does not look as if it were still running"


def test_sha256_of_ignores_key_order():
    assert sha256_of({"a": 1, "b": torch.pi}) == sha256_of({"b": torch.pi, "a": 1})
