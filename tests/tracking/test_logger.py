"""Runs in real MLflow stores: a SQLite file, and a server that stops and starts again."""

import json
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from mlflow import MlflowClient

from spectron.errors import TrackingError
from spectron.tracking.logger import LOCK, RunLogger
from spectron.tracking.measure import MetricValue, flatten
from spectron.tracking.outbox import send_outbox
from spectron.tracking.store import TrackingSettings, find_run, list_runs, open_store


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    chosen = TrackingSettings(folder=str(tmp_path_factory.mktemp("runs")))
    open_store(chosen)
    return chosen


@pytest.fixture(autouse=True)
def without_user_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SPECTRON_RUNS", raising=False)


def history(settings, run_id, name):
    client = MlflowClient(tracking_uri=settings.store_uri)
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """MLflow server on loopback that can stop and start again with the same runs."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            f"{self.folder}/artifacts",
        ]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        quiet = subprocess.DEVNULL
        # In its own session, so that its workers can be stopped with it.
        self.process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urlopen(f"{self.uri}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("the MLflow server did not start")

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path, settings):
    shutil.copy(settings.runs_folder / "mlflow.db", tmp_path / "mlflow.db")
    made = Server(tmp_path)
    yield made
    made.stop()


def test_server_outage_loses_no_record_and_stalls_nothing(server, tmp_path, caplog):
    server.start()
    settings = TrackingSettings(folder=str(tmp_path / "runs"), uri=server.uri)
    logger = RunLogger("demo", settings)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"loss": 5.0}, step=1)
    server.stop()

    began = time.monotonic()
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"as it was")
    for step in range(2, 200):
        logger.log_metrics({"loss": 5.0 / step}, step=step)
    logger.log_measures([MetricValue("val/wer", 0.25, 8, low=0.1, high=0.4)], step=199)
    logger.log_artifact(picture, "panel")
    picture.unlink()
    assert time.monotonic() - began < 3, "training stalled"
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1
    with pytest.warns(UserWarning, match=r"202 records could not be sent .*python -m spectron.tracking.outbox") as told:
        logger.finalize("success")
    assert str(logger.folder) in str(told[0].message)
    with pytest.raises(TrackingError, match="cannot be opened"):
        send_outbox(logger.folder, server.uri)

    server.start()
    resumed = RunLogger("demo", settings, find_run(logger.run_id, settings))
    assert not (logger.folder / "outbox.jsonl").exists()
    assert not (logger.folder / "outbox").exists()
    resumed.log_metrics({"loss": 0.01}, step=200)
    resumed.finalize("success")
    points = sorted(history(settings, logger.run_id, "loss"))
    assert points == [(step, 5.0 / step) for step in range(1, 200)] + [(200, 0.01)]
    record = find_run(logger.run_id, settings)
    assert record.metrics["val/wer.low"] == 0.1
    assert record.status == "FINISHED"
    stored = MlflowClient(tracking_uri=server.uri).download_artifacts(logger.run_id, "panel/picture.png")
    assert Path(stored).read_bytes() == b"as it was"


def test_unreachable_server_refused_at_start(tmp_path):
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"http://127.0.0.1:\d+ cannot be opened: .*Start the server") as caught:
        RunLogger("demo", TrackingSettings(folder=str(tmp_path), uri=f"http://me:secret@127.0.0.1:{free_port()}"))
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)


def test_failed_record_sent_again_in_order(settings, monkeypatch):
    logger = RunLogger("retry", settings)
    outbox, real = logger._outbox, logger._outbox.client.log_batch
    monkeypatch.setattr(outbox.client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone")))
    logger.log_metrics({"x": 1.0}, step=1)
    monkeypatch.setattr(outbox.client, "log_batch", real)
    logger.log_metrics({"x": 2.0}, step=2)
    assert history(settings, logger.run_id, "x") == []
    with outbox.file.open("a") as file:
        file.write('{"kind": "metr')
    monkeypatch.setattr(outbox, "next_try", 0.0)
    outbox.flush()
    logger.log_metrics({"x": 3.0}, step=3)
    assert history(settings, logger.run_id, "x") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_params_stored_whole_and_changes_as_tags(settings, tmp_path):
    long, too_long = "x" * 5900, "y" * 6100
    logger = RunLogger("params", settings)
    with pytest.warns(UserWarning, match="parameter notes has 6100 characters"):
        logger.log_hyperparams(
            {"model": {"name": long, "sizes": [1, 2]}, "parts": [{"a": None}], "notes": too_long, "steps": 10}
        )
    logger.log_hyperparams({f"many.{index}": index for index in range(250)})
    logger.finalize("success")
    resumed = RunLogger("params", settings, find_run(logger.run_id, settings))
    resumed.log_hyperparams({"steps": 20, "new": 1})
    params = find_run(logger.run_id, settings).params
    assert params["model.name"] == long
    assert params["model.sizes"] == "[1, 2]"
    assert params["parts.0.a"] == "None"
    assert params["notes"] == "(6100 characters, too long for MLflow: see config.yaml)"
    assert params["steps"] == "20"
    assert params["new"] == "1"
    assert params["many.249"] == "249"


def test_metrics_stored_with_count_interval_direction(settings):
    logger = RunLogger("measures", settings)
    logger.log_measures(
        [MetricValue("val/accuracy", 0.5, 40, "", True, 0.35, 0.65), MetricValue("val/none", math.nan, 0)], step=3
    )
    logger.log_measures([MetricValue("val/rate", 2.0, 7, "s", None)], step=4)
    record = find_run(logger.run_id, settings)
    counts = {"val/accuracy.count": 40, "val/none.count": 0, "val/rate.count": 7}
    assert (
        record.metrics
        == {"val/accuracy": 0.5, "val/accuracy.low": 0.35, "val/accuracy.high": 0.65, "val/rate": 2.0} | counts
    )
    assert json.loads((logger.folder / "measures.json").read_text()) == {
        "val/accuracy": ["", True],
        "val/none": ["", None],
        "val/rate": ["s", None],
    }
    assert list(logger.measures) == ["val/accuracy", "val/none", "val/rate"]


@pytest.mark.parametrize(
    ("exception", "told", "status"),
    [
        (None, "success", "FINISHED"),
        (ValueError, "failed", "FAILED"),
        (KeyboardInterrupt, "failed", "KILLED"),
        (SIGTERMException, "failed", "KILLED"),
    ],
)
def test_run_status_stored_at_end(settings, exception, told, status):
    logger = RunLogger("ends", settings)
    try:
        if exception:
            raise exception
        logger.finalize(told)
    except BaseException:
        logger.finalize(told)
    assert find_run(logger.run_id, settings).status == status
    RunLogger("ends", settings, find_run(logger.run_id, settings), training=False).finalize("success")
    assert find_run(logger.run_id, settings).status == status
    RunLogger("ends", settings, find_run(logger.run_id, settings))
    assert find_run(logger.run_id, settings).status == "RUNNING"


def test_find_run_by_id_prefix_name_experiment(settings):
    first, second = RunLogger("finding", settings), RunLogger("finding", settings)
    assert [run.run_id for run in list_runs("finding", settings)] == [second.run_id, first.run_id]
    assert find_run("finding", settings).run_id == second.run_id
    assert find_run(first.run_id, settings).folder == first.folder
    assert find_run(first.run_id[:8], settings).run_id == first.run_id
    assert find_run(second.run_name, settings).experiment == "finding"
    with pytest.raises(TrackingError, match=r"no run 'findin' in sqlite:.*did you mean `finding`"):
        find_run("findin", settings)
    with pytest.raises(TrackingError, match=r"no experiment 'fnding'.*did you mean `finding`"):
        list_runs("fnding", settings)
    with pytest.raises(TrackingError, match=r"no run 'deadbeef' .*(newest runs|nearest): "):
        find_run("deadbeef", settings)


def test_find_run_creates_no_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = TrackingSettings(str(tmp_path / "none"))
    assert list_runs(settings=settings) == []
    with pytest.raises(TrackingError, match=r"no run 'x' in .*it holds no runs yet"):
        find_run("x", settings)
    with pytest.raises(TrackingError, match=r"there is no folder gone/run, and no run 'gone/run' in "):
        find_run("gone/run", settings)
    with pytest.raises(TrackingError, match=r"no experiment 'x' in .*it holds no runs yet"):
        list_runs("x", settings)
    assert not list(tmp_path.iterdir())


def test_find_run_in_moved_runs_folder(settings, tmp_path):
    logger = RunLogger("moved", settings)
    shutil.copytree(settings.runs_folder, tmp_path / "elsewhere")
    shutil.rmtree(logger.folder)
    moved = TrackingSettings(folder=str(tmp_path / "elsewhere"))
    assert find_run("moved", moved).folder == tmp_path / "elsewhere" / "moved" / logger.run_id


def test_deleted_experiment_refused(settings):
    logger = RunLogger("deleted", settings)
    MlflowClient(tracking_uri=settings.store_uri).delete_experiment(logger.experiment_id)
    with pytest.raises(TrackingError, match=r"experiment 'deleted' was deleted.*mlflow experiments restore"):
        RunLogger("deleted", settings)


def test_settings_follow_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert TrackingSettings().store_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path / "mine"))
    assert TrackingSettings().store_uri == f"sqlite:///{tmp_path}/mine/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    assert TrackingSettings().store_uri == "http://host:1"
    assert TrackingSettings(uri="sqlite:///x.db").store_uri == "sqlite:///x.db"


def test_flatten_dotted_names():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, [2]], "e": True}) == {
        "a.b": "1",
        "a.c": "{}",
        "d.0": "1",
        "d.1": "[2]",
        "e": "True",
    }


def test_open_store_prints_nothing(tmp_path, capfd):
    open_store(TrackingSettings(folder=str(tmp_path / "new")))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == logging.WARNING


def test_one_experiment_started_several_times_at_once(settings, monkeypatch):
    """All look for the experiment before the first one creates it."""
    together, look = threading.Barrier(4), MlflowClient.get_experiment_by_name

    def look_together(self, name):
        found = look(self, name)
        if found is None:
            together.wait()
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", look_together)
    with ThreadPoolExecutor(4) as pool:
        loggers = list(pool.map(lambda _: RunLogger("started at once", settings), range(4)))
    assert len({logger.run_id for logger in loggers}) == 4
    assert len({logger.experiment_id for logger in loggers}) == 1
    assert len(list_runs("started at once", settings)) == 4


def test_run_has_one_writer_and_no_old_parts(settings):
    first = RunLogger("written", settings)
    run = find_run(first.run_id, settings)
    with pytest.raises(TrackingError) as caught:
        RunLogger("written", settings, run)
    assert caught.value.file == first.folder / LOCK
    RunLogger("written", settings, run, training=False).finalize("success")  # an evaluation may add its metrics
    first.finalize("failed")
    part = first.folder / "checkpoints" / "last.ckpt.0a1b.part"
    part.touch()
    RunLogger("written", settings, run).finalize("success")
    assert not part.exists()
