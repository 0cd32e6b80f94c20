"""Names of metrics, parameters and tags: MLflow accepts them, and reading restores them."""

import logging
import random

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import MetricValue
from spectron.tracking.mlflow_names import LONGEST, escape, unescape
from spectron.tracking.outbox import Outbox
from spectron.tracking.run_comparison import compare
from spectron.tracking.store import HEARTBEAT_TAG, TrackingSettings, file_name, find_run

LETTERS = "ab/.:- _<>'\"%é🎵\n\0\x1b[]0f"


def accepted(name: str) -> None:
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(name)


def test_any_name_is_accepted_and_restored():
    draw = random.Random(3)
    names = ["", ".", "..", "/", "//", "a//b", "../a", "a/", ":", "::", ":41:", "snr<5dB", "o'clock", "val/wer.low"]
    names += ["".join(draw.choices(LETTERS, k=draw.randrange(12))) for _ in range(2000)]
    for name in names:
        accepted(escape(name))
        assert unescape(escape(name)) == name
    assert len({escape(name) for name in names}) == len(set(names))
    assert escape("val/qa_accuracy/unseen facts.low") == "val/qa_accuracy/unseen facts.low"


@pytest.mark.parametrize("letter", ["x", ".", "a/", "é", ":"])
def test_long_name_is_shortened_and_stays_different(letter):
    one, other = letter * 400 + "1", letter * 400 + "2"
    accepted(escape(one))
    assert len(escape(one)) <= LONGEST
    assert escape(one) != escape(other)


def test_long_ids_are_file_names():
    names = ["x" * 300, "x" * 299 + "y", "é" * 300, "short"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == 4
    assert files[-1] == "short"
    assert all(len(file.encode()) <= 150 for file in files)


def test_odd_splits_and_many_measures_are_logged_and_compared(tmp_path):
    settings = TrackingSettings(folder=str(tmp_path / "runs"))
    names = ["val/wer/snr<5dB", "val/wer/o'clock", *(f"val/wer/split-{number}-{'x' * 60}" for number in range(200))]
    runs = []
    for value in (0.5, 0.25):
        logger = RunLogger("odd", settings)
        logger.log_hyperparams({"data.o'clock": value, "b": 1})
        logger.log_measures([MetricValue(name, value, 8, "errors/word", False) for name in names], step=3)
        logger.finalize("success")
        runs.append(logger.run_id)
    record = find_run(runs[0], settings)
    assert {name: record.metrics[name] for name in names} == dict.fromkeys(names, 0.5)
    assert record.params["data.o'clock"] == "0.5"
    compared = compare(runs, settings)
    rows = {row.name: row for row in compared.rows}
    assert (rows[names[0]].unit, rows[names[0]].higher_is_better) == ("errors/word", False)
    assert [cell.best for cell in rows[names[-1]].cells] == [False, True]
    again = RunLogger("odd", settings, record)
    again.log_measures([MetricValue(names[0], 0.1, 8, "errors/word", False)], step=4)
    again.finalize("success")
    assert find_run(runs[0], settings).metrics[names[0]] == 0.1


def test_refused_value_takes_no_neighbour_along(tmp_path, caplog):
    settings = TrackingSettings(folder=str(tmp_path / "runs"))
    logger = RunLogger("odd", settings)
    with caplog.at_level(logging.WARNING):
        logger._send("metrics", values={"good": 1.0, "bad": "text", "fine": 2.0}, step=1, time_ms=1)
    logger.finalize("success")
    assert find_run(logger.run_id, settings).metrics == {"good": 1.0, "fine": 2.0}
    assert [record.message for record in caplog.records if "MLflow refused `bad`" in record.message]
    assert isinstance(logger._outbox, Outbox)


def test_silent_run_is_shown_as_dead(tmp_path, monkeypatch):
    settings = TrackingSettings(folder=str(tmp_path / "runs"))
    logger = RunLogger("lost", settings)
    logger.log_metrics({"loss": 1.0}, step=1)
    record = find_run(logger.run_id, settings)
    assert record.shown_status == "running"
    record.tags[HEARTBEAT_TAG] = str(int(record.tags[HEARTBEAT_TAG]) - 3 * 3600 * 1000)
    assert record.shown_status == "dead? silent for 3.0 h"
    logger.finalize("success")
    assert find_run(logger.run_id, settings).shown_status == "finished"
