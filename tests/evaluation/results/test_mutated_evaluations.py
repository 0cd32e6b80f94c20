"""Damaged files of evaluations are read, repaired or refused with an error that names the file."""

import json
import random
from types import SimpleNamespace

from stored_mutations import mutate_stored, restored

from spectron.errors import DataError, SpectronError
from spectron.evaluation.comparison import compare_evaluations, render, write_comparison
from spectron.evaluation.metrics import SelfBleu, SpeechWordErrorRate
from spectron.evaluation.report import read_evaluation, write_report
from spectron.evaluation.results.records import DoneBatches, Stopwatch
from spectron.evaluation.results.summary import complete_parts, summary_of
from spectron.evaluation.study.scheduling import is_done
from spectron.evaluation.study.study import Job, Row
from spectron.evaluation.study.table import as_csv, as_markdown, table_of
from spectron.evaluation.suites.plan import PLAN, resumable
from spectron.tracking.measure import console
from spectron.tracking.store import directions_of

CASES, SEED = 100, 20


def damage(draw, places, read, cases):
    """Damage one of the files in turn and read them; return the errors, which are all errors of the program."""
    contents = {path: path.read_bytes() for path in places}
    errors = []
    for _ in range(cases):
        path = draw.choice(places)
        mutate_stored(path, draw)
        try:
            read()
        except SpectronError as error:
            str(error).encode()
            errors.append(error)
        except BaseException as error:
            shown = path.read_bytes()[:3000] if path.is_file() else "no file"
            raise AssertionError(f"{type(error).__name__}: {error}\n{path.name}: {shown}") from error
        finally:
            restored(path, contents[path])
    return errors


def damage_evaluation(make_evaluation, seed, cases):
    """Compare a damaged evaluation with a sound one, and write its report."""
    first, second = make_evaluation("first", items=3), make_evaluation("second", items=3)
    audio = first / "audio" / "long" / "model" / "item-0.wav"

    def read():
        compared = compare_evaluations([first, second], allow_different=True)
        with console().capture():
            console().print(render(compared))
        write_comparison(compared, first.parent / "out", 1)
        write_report(read_evaluation(first), 1)

    draw = random.Random(seed)
    files = [first / "results.json", first / "items.jsonl"]
    return damage(draw, files, read, cases), damage_audio(draw, audio, read, cases // 20)


def damage_audio(draw, path, read, cases):
    content, errors = path.read_bytes(), []
    for _ in range(cases):
        path.write_bytes(content[: draw.randrange(len(content))] + draw.randbytes(draw.randrange(9)))
        try:
            read()
        except SpectronError as error:
            errors.append(error)
    path.write_bytes(content)
    return errors


def test_damaged_evaluation_is_compared_or_refused(make_evaluation):
    errors, of_audio = damage_evaluation(make_evaluation, SEED, CASES)
    assert len(errors) > CASES / 3
    assert {error.file.name for error in errors if isinstance(error, DataError)} == {"results.json", "items.jsonl"}
    assert {error.file.name for error in of_audio} == {"item-0.wav"}


def damage_study(make_evaluation, seed, cases):
    """Tabulate a study with a damaged result of a job."""
    folder = make_evaluation("first", items=3)
    rows = {"full": Row("full")}
    study = SimpleNamespace(
        name="s", rows=rows, first="full", columns=["long/speech_wer", "short/speech_wer/facts"], claims=[]
    )
    job = Job("full", 1, folder, folder / "suite.yaml", [], True)
    job.note({"fingerprint": "f", "run": "r", "evaluation": str(folder)})

    def read():
        if is_done(job, "f"):
            table = table_of(study, [job])
            as_csv(table), as_markdown(table)

    files = [folder / name for name in ("job.json", "items.jsonl", "results.json")]
    return damage(random.Random(seed), files, read, cases)


def test_damaged_result_of_job_is_tabulated_or_refused(make_evaluation):
    errors = damage_study(make_evaluation, SEED, CASES)
    assert "job.json" in {error.file.name for error in errors}


def batch_of(task, place):
    """Return the lines of a judged batch, as an evaluation stores them."""
    common = {"task": task, "system": "model", "split": "", "audio": {}, "failure": None, "generated_seconds": 1.5}
    parts = {"speech_wer": [1.0, 4.0]}
    return [
        common | {"id": f"{task}-{place}-{row}", "parts": dict(parts), "traits": {"self_bleu": "the cow says moo"}}
        for row in range(2)
    ]


def damage_work(folder, monkeypatch, seed, cases):
    """Resume an evaluation whose stored work is damaged."""
    work = folder / "work"
    keys = [("long", "model", place) for place in range(4)]
    plan = {"suite": "s", "seed": 17, "tasks": {"long": {"fingerprint": "f" * 64, "data": {"items": 8}}}}
    done = DoneBatches(work)
    for key in keys:
        done.add(key, batch_of(key[0], key[2]))
    (folder / PLAN).write_text(json.dumps(plan))
    Stopwatch(work / "times.json").keep()
    (folder / "measures.json").write_text(json.dumps({"a": ["s", True], "b": ["", None]}))
    run = SimpleNamespace(folder=folder, run_id="r")
    monkeypatch.setattr("spectron.evaluation.suites.plan.find_run", lambda reference, tracking: run)

    def read():
        resumable("s", "r", None, plan)
        directions = directions_of(folder, "r", None)
        assert all(isinstance(unit, str) for unit, _ in directions.values())
        Stopwatch(work / "times.json").times()
        done = DoneBatches(work)
        stored = done.read()
        for key in keys:
            if key not in stored:
                done.add(key, batch_of(key[0], key[2]))
        stored = DoneBatches(work).read()
        lines = [line for key in keys for line in stored[key]]
        metrics = [SpeechWordErrorRate(), SelfBleu()]
        complete_parts(lines, metrics)
        summary = summary_of(lines, metrics, {})
        assert summary["measures"]["speech_wer"]["value"] == 0.25
        assert summary["measures"]["self_bleu"]["value"] == 1.0

    files = [work / "rank-0.jsonl", work / "times.json", folder / PLAN, folder / "measures.json"]
    return damage(random.Random(seed), files, read, cases)


def test_damaged_work_is_repaired_or_refused(tmp_path, monkeypatch):
    errors = damage_work(tmp_path, monkeypatch, SEED, 2 * CASES)
    assert {"plan.json", "times.json", "measures.json"} <= {error.file.name for error in errors if error.file}
