"""Logging of a run: metrics, parameters, tags and files, to MLflow and to a local folder."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.utilities.rank_zero import rank_zero_only, rank_zero_warn
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from spectron.errors import LockedError, TrackingError, WriteError
from spectron.files import Lock, remove_abandoned, write_text
from spectron.processes.ranks import of_first
from spectron.tracking.measure import MetricValue, flatten
from spectron.tracking.mlflow_names import unescape
from spectron.tracking.outbox import Outbox
from spectron.tracking.store import (
    CHANGED_TAG,
    FOLDER_TAG,
    HEARTBEAT_TAG,
    MEASURES,
    RunRecord,
    TrackingSettings,
    changed_params,
    directions_of,
    open_store,
    reason_of,
    run_folder,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


LOCK = "written_by"  # file in a run's folder, which names the process that trains
LONGEST_PARAM = 6000  # characters, MLflow's own limit
HEARTBEAT_S = 60.0  # shortest time between two heartbeats
PARAMS_PER_RECORD = 100  # MLflow's own limit


class RunLogger(Logger):
    """Lightning logger of one MLflow run; only the first rank logs, and all ranks make the logger together.

    A store that cannot be reached stops the start. A store that stops answering later does not stop training, and no
    record is lost (``outbox.py``).

    Args:
        experiment: Name of the experiment.
        settings: Where runs are kept.
        run: Run to resume; None starts a new one.
        training: False leaves the status of the run unchanged, for an evaluation of a finished run.

    Attributes:
        folder: Local folder of the run.
        run_id: Id of the run.
        measures: Latest metric values by name.
        headlines: Files to name at the end of a run, such as WAV files and pictures.

    Raises:
        TrackingError: if the store cannot be reached, the experiment's name belongs to a deleted experiment, or another
            process writes the run that is to be resumed.
    """

    def __init__(
        self,
        experiment: str,
        settings: TrackingSettings | None = None,
        run: RunRecord | None = None,
        training: bool = True,
    ) -> None:
        super().__init__()
        self.experiment_name = run.experiment if run else experiment
        self.settings = settings or TrackingSettings()
        self.training = training
        self.measures: dict[str, MetricValue] = {}
        self.headlines: list[Path] = []
        self.experiment_id = ""
        self.run_id = run.run_id if run else ""
        self.run_name = ""
        self.folder = run.folder if run else run_folder(self.settings, experiment, "")
        self._outbox: Outbox | None = None
        self._params: dict[str, str] = {}
        self._directions: dict[str, list[Any]] = {}
        self._lock: Lock | None = None
        self._beat = -math.inf  # seconds, of the last heartbeat

        def start() -> tuple[str, Path]:
            if getattr(rank_zero_only, "rank", 0) == 0:
                self._start(run)
            return self.run_id, self.folder

        self.run_id, self.folder = of_first(start)

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment_name

    @property
    def version(self) -> str:
        """Id of the run."""
        return self.run_id

    @property
    def save_dir(self) -> str:
        """Folder of all runs."""
        return str(self.settings.runs_folder)

    @property
    def log_dir(self) -> str:
        """Folder of this run."""
        return str(self.folder)

    @property
    def ui_command(self) -> str:
        """Command to type and page to open to see the run in MLflow; on a server the page alone."""
        page = f"/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if self.settings.on_server:
            return self.settings.shown_uri.rstrip("/") + page
        # Without an activated environment, name the script next to this Python, so that the line works as printed.
        neighbour = Path(sys.executable).with_name("mlflow")
        command = "mlflow" if shutil.which("mlflow") or not neighbour.is_file() else str(neighbour)
        return f"{command} ui --backend-store-uri {self.settings.store_uri}   then open http://127.0.0.1:5000{page}"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log values at a step."""
        self._send(
            "metrics", values={name: float(value) for name, value in metrics.items()}, step=step or 0, time_ms=_now_ms()
        )
        if self.training and time.monotonic() - self._beat > HEARTBEAT_S:
            self._beat = time.monotonic()
            self.set_tags({HEARTBEAT_TAG: str(_now_ms())})

    def log_measures(self, measures: list[MetricValue], step: int) -> None:
        """Log metrics with counts and intervals; a NaN is left out and its count is logged."""
        if not measures:
            return
        self.measures |= {measure.name: measure for measure in measures}
        directions = {measure.name: [measure.unit, measure.higher_is_better] for measure in measures}
        if not directions.items() <= self._directions.items():
            self._directions |= directions
            write_text(self.folder / MEASURES, json.dumps(self._directions, indent=0))
            self.log_artifact(self.folder / MEASURES)
        self.log_metrics({name: value for measure in measures for name, value in measure.values().items()}, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log parameters under dotted names, never cut.

        MLflow refuses to change a parameter: changed parameters of a resumed run are stored as tags.
        """
        flat = flatten(vars(params) if isinstance(params, Namespace) else params)
        for name, value in flat.items():
            if len(value) > LONGEST_PARAM:
                flat[name] = f"({len(value)} characters, too long for MLflow: see config.yaml)"
                rank_zero_warn(
                    f"parameter {name} has {len(value)} characters, and MLflow accepts {LONGEST_PARAM}: it is in "
                    "config.yaml only"
                )
        new = [(name, value) for name, value in flat.items() if name not in self._params]
        for start in range(0, len(new), PARAMS_PER_RECORD):
            self._send("params", values=dict(new[start : start + PARAMS_PER_RECORD]))
        self.set_tags(
            {CHANGED_TAG + name: value for name, value in flat.items() if self._params.get(name, value) != value}
        )
        self._params |= flat

    def log_artifact(self, path: Path, artifact_folder: str = "", headline: bool = False) -> None:
        """Store a file or a folder with the run; a headline is named to the user at the end."""
        if headline:
            self.headlines.append(path)
        self._send("artifact", path=str(path.absolute()), folder=artifact_folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        if tags:
            self._send("tags", values={name: str(value) for name, value in tags.items()})

    def finalize(self, status: str) -> None:
        """Set the run's status from Lightning's (``success`` or ``failed``), and send the records that are kept."""
        if self._outbox is None:
            return
        if self.training:
            interrupted = isinstance(sys.exc_info()[1], KeyboardInterrupt | SIGTERMException)
            ended = "KILLED" if interrupted else "FAILED" if status == "failed" else "FINISHED"
            # The error that ended the run is reported, and not that a full disk does not take the status either.
            with suppress(WriteError) if ended == "FAILED" else nullcontext():
                self._send("status", status=ended, time_ms=_now_ms())
        if left := self._outbox.flush():
            rank_zero_warn(
                f"{left} records could not be sent to {self.settings.shown_uri}; they are kept in {self._outbox.file}. "
                f"Send them when the store answers again: python -m spectron.tracking.outbox "
                f"{self.folder.resolve()} {self.settings.shown_uri}"
            )
        self._release()

    def _release(self) -> None:
        if self._lock:
            self._lock.release()

    def _send(self, kind: str, **content: Any) -> None:
        if self._outbox is not None:
            self._outbox.send({"kind": kind, **content})

    def _start(self, resumed: RunRecord | None) -> None:
        """Create the run, or resume one and first send the records that it still keeps."""
        client = open_store(self.settings)
        try:
            if resumed is None:
                name = f"{self.experiment_name}-{time.strftime('%Y%m%d-%H%M%S')}"
                run: Run = client.create_run(self._experiment(client), run_name=name)
                self.run_id = run.info.run_id
                self.folder = run_folder(self.settings, self.experiment_name, self.run_id)
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            if self.training:
                self._lock = self._only_writer()
                remove_abandoned(self.folder)
            self._outbox = Outbox(client, self.run_id, self.folder, self.settings.shown_uri)
            self.set_tags({FOLDER_TAG: str(self.folder)})
            if resumed is not None:
                self._outbox.flush()
                if self.training:
                    client.update_run(self.run_id, status="RUNNING")
                run = client.get_run(self.run_id)
        except TrackingError:
            self._release()
            raise
        except Exception as error:
            self._release()
            raise TrackingError(
                f"the MLflow store {self.settings.shown_uri} accepts no run: {reason_of(error)}"
            ) from error
        self.run_name, self.experiment_id = run.info.run_name, run.info.experiment_id
        tags = {unescape(name): value for name, value in run.data.tags.items()}
        self._params = {unescape(name): value for name, value in run.data.params.items()} | changed_params(tags)
        self._directions = directions_of(self.folder, self.run_id, self.settings)

    def _only_writer(self) -> Lock:
        """Lock the run: two processes that train it would overwrite each other's checkpoints."""
        try:
            return Lock(self.folder / LOCK)
        except LockedError as error:
            raise TrackingError(
                f"run {self.run_id} is being written: {error.message}. Wait for its end, or stop it; to train the same "
                "experiment again, leave out --resume",
                file=error.file,
            ) from error

    def _experiment(self, client: MlflowClient) -> str:
        """Return the id of the experiment, and create the experiment if it is new."""
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment_name)
        if found is None:
            folder = self.settings.runs_folder / "artifacts" / run_folder(self.settings, self.experiment_name, "").name
            try:
                return client.create_experiment(
                    self.experiment_name, artifact_location=None if self.settings.on_server else folder.as_uri()
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._experiment(client)  # another process has created it since
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment '{self.experiment_name}' was deleted in {self.settings.shown_uri}. Choose another `name`, "
                f"or run `mlflow experiments restore --experiment-id {found.experiment_id}`."
            )
        return found.experiment_id


def _now_ms() -> int:
    return int(time.time() * 1000)
