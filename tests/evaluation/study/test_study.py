"""Studies: refused settings, jobs that run once, and tables."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from places import ROOT
from talker import TALKER

from spectron.cli.parser import main
from spectron.errors import ConfigError, TrackingError, TrainingError
from spectron.evaluation.metrics.intervals import pooled_bootstrap
from spectron.evaluation.study import jobs, scheduling
from spectron.evaluation.study.study import Claim, Row, Study
from spectron.evaluation.study.table import (
    ABSENT,
    EMPTY,
    FAILED,
    HELD,
    UNCLEAR,
    as_csv,
    as_markdown,
    table_of,
    verdict_lines,
)
from spectron.experiment.experiment import Experiment
from spectron.tracking.store import list_runs
from spectron.weights.checkpoint_files import read_checkpoint

ROW = (
    TALKER.replace("name: talker", "name: row")
    + """
data:
  class_path: spectron.datamodules.SpokenQADataModule
  init_args: {manifest: "CORPUS/questions.jsonl", val_splits: [unseen_speakers]}
trainer: {max_steps: 1, val_check_interval: 1, limit_val_batches: 1, accelerator: cpu, enable_progress_bar: false}
"""
)
SUITE = """
name: put-to
judges: {}
tasks:
  questions:
    class_path: spectron.evaluation.tasks.SpokenQuestions
    init_args:
      data:
        class_path: spectron.datamodules.SpokenQADataModule
        init_args: {manifest: CORPUS/questions.jsonl, val_splits: [unseen_speakers]}
      decoding: {max_text_tokens: 4, max_seconds: 0.3}
      num_items: 4
      baselines: []
"""
STUDY = {
    "name": "small",
    "train": "row.yaml",
    "suite": "suite.yaml",
    "seeds": [1],
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
}


@pytest.fixture
def place(tmp_path, small_corpus, monkeypatch, make_runs):
    """The current folder, with a study."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SPECTRON_RUNS", str(make_runs(tmp_path / "runs")))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(small_corpus / "text" / "train.txt", "text.txt")
    for name, text in {"row.yaml": ROW, "suite.yaml": SUITE}.items():
        (tmp_path / name).write_text(text.replace("CORPUS", str(small_corpus)))
    write(STUDY)
    return tmp_path


def write(study):
    Path("study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def evaluations() -> list[str]:
    return [run.run_id for run in list_runs("put-to")]


def over(job) -> scheduling.RunningJob:
    """Return a job whose process ends successfully at once."""
    log = (job.folder / scheduling.LOG).open("ab")
    return scheduling.RunningJob(job, subprocess.Popen([sys.executable, "-c", ""]), log, None, 0.0)


def test_study_trains_and_evaluates_each_row_once(place, capsys, monkeypatch):
    """The jobs run in this process: separate processes, as in other tests, would import everything again."""
    seen = []
    table = place / "runs" / "studies" / "small" / "table.md"

    def look_and_work(job, fingerprint, device):
        seen.append(table.read_text() if table.is_file() else "")
        jobs.work(job, fingerprint)
        return over(job)

    monkeypatch.setattr(scheduling, "start", look_and_work)
    assert main(["study", "study.yaml"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    whole = [("| whole | 1 |" in text, "| no text | 1 |" in text) for text in seen]
    assert whole == [(False, False), (True, False), (True, True)], "the table exists while later rows run"
    assert "small: 3 jobs, 0 done" in printed
    assert "whole" in printed
    folder = place / "runs" / "studies" / "small"
    assert {path.name for path in folder.iterdir()} == {
        "full-1",
        "silent-1",
        "short-1",
        "table.md",
        "table.csv",
        "table.png",
    }
    noted = {name: json.loads((folder / f"{name}-1" / "job.json").read_text()) for name in ("full", "silent", "short")}
    assert noted["short"]["run"] == noted["full"]["run"] != noted["silent"]["run"]
    assert len(list_runs("small-full")) == len(list_runs("small-silent")) == 1
    assert len(evaluations()) == 3
    lines = [line.split(",") for line in (folder / "table.csv").read_text().splitlines()]
    values = {(line[0], line[1]): line[6] for line in lines}
    stored = json.loads((Path(noted["full"]["evaluation"]) / "results.json").read_text())
    found = {key: stored["system"][key] for key in ("experiment", "run", "step")}
    assert found == {"experiment": "small-full", "run": noted["full"]["run"], "step": 1}
    assert stored["system"]["checkpoint"].endswith(f"{noted['full']['run']}/checkpoints/last.ckpt")
    measured = stored["tasks"]["questions"]["systems"]["model"]["measures"]["length_ratio"]["value"]
    assert float(values["full", "questions/length_ratio"]) == pytest.approx(measured)
    assert float(values["short", "questions/length_ratio"]) <= measured

    assert main(["study", "study.yaml"]) == 0
    assert "small: 3 jobs, 3 done" in capsys.readouterr().out
    assert len(evaluations()) == 3, "no job runs twice"

    silent = {"title": "filler tokens", "train": {"model": {"sequence": {"text": "filler"}}}}
    short = STUDY["rows"]["short"] | {
        "title": "fewer",
        "evaluate": {"tasks": {"questions": {"init_args": {"num_items": 3}}}},
    }
    write(STUDY | {"rows": STUDY["rows"] | {"silent": silent, "short": short}})
    assert main(["study", "study.yaml"]) == 0, capsys.readouterr().err
    assert "small: 3 jobs, 1 done" in capsys.readouterr().out
    assert (len(list_runs("small-full")), len(list_runs("small-silent"))) == (1, 2), "a changed row is trained again"
    assert len(evaluations()) == 5, "a row with a changed suite is evaluated again"

    write(STUDY)
    job = Study(Path("study.yaml")).jobs()[1]
    run = jobs.trained_run(Experiment.read(job.experiment))
    assert run.run_id == noted["silent"]["run"], "a run with these settings exists"
    stored = yaml.safe_load((run.folder / "config.yaml").read_text())
    del stored["model"]["sequence"]["scheduled_sampling"]
    (run.folder / "config.yaml").write_text(yaml.safe_dump(stored))
    assert jobs.trained_run(Experiment.read(job.experiment)).run_id == run.run_id, (
        "a run from before a setting existed, with its default now"
    )
    write(
        STUDY
        | {
            "rows": STUDY["rows"]
            | {
                "silent": {
                    "title": "no text",
                    "train": {"model": {"sequence": {"text": "empty", "text_separator": " | "}}},
                }
            }
        }
    )
    job = Study(Path("study.yaml")).jobs()[1]
    assert jobs.trained_run(Experiment.read(job.experiment)) is None, (
        "a run of the same name with other settings does not count"
    )


def test_locked_job_refuses_second_process(place):
    job = Study(Path("study.yaml")).jobs()[0]
    with (
        jobs.alone(job),
        pytest.raises(TrackingError, match="full, seed 1: another process runs this job"),
        jobs.alone(job),
    ):
        pass
    with jobs.alone(job):
        pass


def test_failing_study_stops_running_jobs(place, monkeypatch):
    """The table fails after the first job, which ends at once, while the second one runs."""
    processes = []

    def keep(job, *arguments, begin=scheduling.start):
        processes.append(begin(job, *arguments) if processes else over(job))
        return processes[-1]

    def fail(*arguments):
        raise ConfigError("no table")

    monkeypatch.setattr(scheduling, "start", keep)
    monkeypatch.setattr(scheduling, "table_so_far", fail)
    with pytest.raises(ConfigError, match="no table"):
        scheduling.run_study(Path("study.yaml"), at_once=2)
    assert len(processes) == 2
    assert all(one.process.poll() is not None and one.log.closed for one in processes)
    assert processes[1].process.returncode != 0, "interrupted before its end"


def test_killed_job_is_reported_with_its_cause(place, monkeypatch, capsys):
    """As the operating system kills the process of a job if memory is short."""

    def killed(job, *arguments):
        log = (job.folder / scheduling.LOG).open("ab")
        process = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
        return scheduling.RunningJob(job, process, log, None, 0.0)

    monkeypatch.setattr(scheduling, "start", killed)
    with pytest.raises(TrainingError):
        scheduling.run_study(Path("study.yaml"), at_once=1)
    assert scheduling.KILLED.strip() in capsys.readouterr().out


def test_sigterm_to_study_ends_its_job_with_a_checkpoint(place):
    """The signal reaches the study alone, as from a scheduler."""
    endless = {"trainer": {"max_steps": 10**6, "val_check_interval": 10**6}}
    write(STUDY | {"rows": {"full": {"title": "whole", "train": endless}}, "claims": []})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "spectron", "study", "study.yaml"]
    study = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 150
    while not list(place.glob("runs/small-full/*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # some steps
    study.send_signal(signal.SIGTERM)
    _, printed = study.communicate(timeout=60)
    assert (study.returncode, "Stopped" in printed) == (130, True), printed
    (run,) = list_runs("small-full")
    assert (run.status, read_checkpoint(run.last_checkpoint)["global_step"] > 0) == ("KILLED", True)
    with jobs.alone(Study(Path("study.yaml")).jobs()[0]):
        pass  # the job's process has ended


def test_zero_jobs_at_once_refused(place):
    with pytest.raises(ConfigError) as raised:
        scheduling.run_study(Path("study.yaml"), at_once=0)
    assert raised.value.key == "--jobs"


def test_row_option_runs_one_row(place, capsys):
    assert main(["study", "study.yaml", "--row", "silent"]) == 0, capsys.readouterr().err
    folder = place / "runs" / "studies" / "small"
    assert [(folder / f"{row}-1" / "job.json").is_file() for row in ("full", "silent", "short")] == [False, True, False]
    assert "was not run: Short is shorter" in capsys.readouterr().out
    assert Study(Path("study.yaml")).with_trained(["short"]) == {"short", "full"}
    assert main(["study", "study.yaml", "--row", "slient"]) == 1
    assert "--row: there is no row `slient`. Did you mean `silent`" in capsys.readouterr().err


def test_failed_row_does_not_stop_others(place, capsys):
    rows = {
        "broken": {"title": "broken", "train": {"weights": {"encoder": "no.safetensors"}}},
        "full": {"title": "whole"},
    }
    rows["of_it"] = {"title": "of the broken one", "trained_as": "broken"}
    write(STUDY | {"rows": rows, "claims": []})
    assert main(["study", "study.yaml"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("spectron: error: 2 of 3 jobs failed")
    assert re.search(r"broken, seed 1: spectron: error: weights\.encoder: .*no\.safetensors", said)
    assert "of_it, seed 1: the row that trains its model failed" in said
    assert "| whole | 1 |" in (place / "runs" / "studies" / "small" / "table.md").read_text()


def test_job_experiment_is_complete(place):
    (place / "row.yaml").write_text((place / "row.yaml").read_text() + "weights: {encoder: x.safetensors}\n")
    write(
        STUDY
        | {
            "rows": {"full": {"title": "whole", "train": {"weights": {"encoder": None}, "trainer": {"max_steps": 7}}}},
            "claims": [],
        }
    )
    (job,) = Study(Path("study.yaml")).jobs()
    config = Experiment.read(job.experiment).config
    assert (config["name"], config["seed"], config["weights"], config["trainer"]["max_steps"]) == (
        "small-full",
        1,
        {},
        7,
    )
    assert config["tracking"]["folder"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colums": []}, "a study takes no `colums`. Did you mean `columns`"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [1, 1]}, "each once"),
        ({"train": "rows.yaml"}, r"train: there is no file .*rows\.yaml"),
        (
            {"claims": [{"says": "x", "row": "ful", "measure": "questions/length_ratio"}]},
            "no row `ful`. Did you mean `full`",
        ),
        ({"claims": [{"says": "x", "row": "full", "measure": "questions/length"}]}, "no column `questions/length`"),
        (
            {"rows": {"full": {"title": "x"}, "b": {"title": "b", "trained_as": "fulll"}}, "claims": []},
            r"rows\.b\.trained_as.*`full`",
        ),
        ({"rows": {"full": {"title": "x", "trained_as": "full"}}, "claims": []}, r"rows\.full\.trained_as"),
    ],
)
def test_invalid_study_refused(change, said, place):
    write(STUDY | change)
    with pytest.raises(ConfigError, match=said):
        Study(Path("study.yaml"))


def test_invalid_row_refused_before_training(place, capsys):
    write(
        STUDY | {"rows": {"full": {"title": "whole", "train": {"model": {"sequence": {"txt": "empty"}}}}}, "claims": []}
    )
    assert main(["study", "study.yaml"]) == 1
    assert "model.sequence.txt: SequenceSettings takes no `txt`. Did you mean `text`?" in capsys.readouterr().err
    with pytest.raises(TrackingError, match="small-full"):
        list_runs("small-full")


@pytest.mark.parametrize(
    ("column", "meant"),
    [("questions/length_ration", "length_ratio"), ("question/length_ratio/heldout", "length_ratio")],
)
def test_unmeasured_column_refused_before_training(column, meant, place, capsys):
    write(STUDY | {"columns": [column], "claims": []})
    assert main(["study", "study.yaml"]) == 1
    assert f"columns: the suite measures no `{column}`. Did you mean `questions/{meant}`?" in capsys.readouterr().err
    with pytest.raises(TrackingError, match="small-full"):
        list_runs("small-full")


def jobs_of(folders: dict[tuple[str, int], Path]):
    return [
        SimpleNamespace(
            row=row, seed=seed, folder=Path(f"{row}-{seed}"), noted=lambda folder=folder: {"evaluation": str(folder)}
        )
        for (row, seed), folder in folders.items()
    ]


def study_of(**rows):
    columns = ["long/speech_wer", "long/speech_wer/facts", "long/nothing"]
    named = {name: Row(title) for name, title in rows.items()}
    claims = [
        Claim("b is better", "b", "long/speech_wer", "better"),
        Claim("b is worse", "b", "long/speech_wer", "worse"),
        Claim("like is worse", "like", "long/speech_wer", "worse"),
        Claim("gone is worse", "gone", "long/speech_wer", "worse"),
        Claim("b has more of nothing", "b", "long/nothing", "better"),
    ]
    return SimpleNamespace(name="s", rows=named, columns=columns, claims=claims, first="a")


def test_table_pools_seeds_and_decides_claims(make_evaluation):
    folders = {
        ("a", 1): make_evaluation("a1", skill=0.0),
        ("a", 2): make_evaluation("a2", skill=0.2),
        ("b", 1): make_evaluation("b1", skill=1.0),
        ("like", 1): make_evaluation("like1", skill=0.0),
    }
    table = table_of(study_of(a="A", b="B", like="Like", gone="Gone"), jobs_of(folders))
    assert table.seeds == {"a": [1, 2], "b": [1], "like": [1], "gone": []}
    wer = {row: entries.get("long/speech_wer") for row, entries in table.entries.items()}
    one = [(float(number), 5.0) for number in range(6)]
    assert (wer["a"].value.trainings, wer["b"].value.value, wer["gone"]) == (2, 0.0, None)
    assert wer["b"].difference == pooled_bootstrap([[(0.0, 5.0)] * 6], [one]), "the difference uses common seeds only"
    assert (wer["a"].difference, wer["b"].better, wer["like"].better) == (None, True, None)
    assert "long/nothing" not in table.entries["a"]
    assert [verdict for _, verdict, _ in table.verdicts] == [HELD, FAILED, UNCLEAR, ABSENT, EMPTY]
    assert verdict_lines(table)[0].endswith("], one seed only)")
    assert verdict_lines(table)[3] == "was not run: gone is worse (long/speech_wer)"
    text = as_markdown(table)
    assert "| B | 1 | 0.000 [0.000, " in text
    assert "| Gone | 0 | - | - | - |" in text
    assert len(as_csv(table).splitlines()) == 1 + 3 * 2


def test_row_with_different_conditions_refused(make_evaluation):
    folders = {("a", 1): make_evaluation("a1", skill=0.0), ("a", 2): make_evaluation("a2", skill=0.0)}
    results = json.loads((folders["a", 2] / "results.json").read_text())
    results["tasks"]["long"]["fingerprint"] = "0" * 64
    (folders["a", 2] / "results.json").write_text(json.dumps(results))
    with pytest.raises(
        ConfigError, match=r"(?s)different conditions.*Cure: remove a-1/job.json, a-2/job.json and repeat"
    ):
        table_of(study_of(a="A", b="B", like="Like", gone="Gone"), jobs_of(folders))


@pytest.mark.parametrize("name", ["claims", "speaking"])
def test_own_studies_compose(name, tmp_path):
    study = Study(ROOT / "experiments" / "mini" / f"{name}.yaml", [f"tracking.folder={tmp_path}"])
    jobs = study.jobs()
    assert len({job.fingerprint() for job in jobs}) == len(jobs) == len(study.seeds) * len(study.rows)


def test_claims_study_contains_ablation_of_paper(tmp_path):
    study = Study(ROOT / "experiments" / "mini" / "claims.yaml", [f"tracking.folder={tmp_path}"])
    assert {"without_text", "without_deltas", "without_encoder", "without_lm", "without_both"} <= study.rows.keys()
    assert all(row.published for name, row in study.rows.items() if name.startswith(("full", "without")))


def test_row_changes_class_of_part(place):
    head = {
        "class_path": "spectron.heads.LatentSamplingHead",
        "init_args": {"mel": {"n_mels": 20}, "frames_per_step": 2},
    }
    write(
        STUDY
        | {
            "rows": {"full": {"title": "whole"}, "drawn": {"title": "drawn", "train": {"model": {"head": head}}}},
            "claims": [],
        }
    )
    config = Experiment.read(Study(Path("study.yaml")).jobs()[1].experiment).config["model"]["head"]
    assert (config["class_path"], config["init_args"]["post_net_width"]) == ("spectron.heads.LatentSamplingHead", 512)
