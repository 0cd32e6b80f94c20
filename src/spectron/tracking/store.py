"""The MLflow store: how it is opened, and how runs are found in it by id, start of an id, name or experiment."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectron.errors import TrackingError, nearest, without_password
from spectron.stored_json import flag, mapping, or_null, read_stored, row, text
from spectron.tracking.mlflow_names import unescape

if TYPE_CHECKING:
    from mlflow import MlflowClient

LONGEST_FILE_NAME = 150  # bytes; file systems accept 255, and suffixes follow
FOLDER_TAG = "spectron.folder"
HEARTBEAT_TAG = "spectron.heartbeat"  # of a running training: the time of one of its last records, in ms
SILENT_S = 1800  # a running training without a heartbeat for so long is taken for dead
MEASURES = "measures.json"  # file of a run: unit and direction of its metrics. A tag has at most 8,000 characters
CHANGED_TAG = "spectron.changed."
DIRECTIONS = mapping(row(text, or_null(flag)))  # its content
SHORTEST_PREFIX = 4  # characters of a run id
SQLITE = "sqlite:///"

# A server that does not answer must neither delay the start nor stall training: unsent records are sent later.
_QUICK_TO_FAIL = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass
class TrackingSettings:
    """Place of the runs.

    Args:
        folder: Local folder of checkpoints, pictures and, without a server, the MLflow database; by default
            ``SPECTRON_RUNS`` or ``runs``.
        uri: MLflow store such as ``http://host:5000``; by default ``MLFLOW_TRACKING_URI`` or a SQLite file in
            ``folder``.
    """

    folder: str | None = None
    uri: str | None = None

    @property
    def runs_folder(self) -> Path:
        """Absolute path of the runs folder."""
        return Path(self.folder or os.environ.get("SPECTRON_RUNS") or "runs").expanduser().absolute()

    @property
    def store_uri(self) -> str:
        """URI of the MLflow store."""
        return self.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{self.runs_folder / 'mlflow.db'}"

    @property
    def shown_uri(self) -> str:
        """URI of the MLflow store without user name and password, for messages."""
        return without_password(self.store_uri)

    @property
    def on_server(self) -> bool:
        """True if the store is a server, which chooses the place of the artifacts."""
        return self.store_uri.startswith(("http://", "https://"))

    @property
    def is_new(self) -> bool:
        """True if the store is a file that does not exist yet: opening it would create it."""
        return self.store_uri.startswith(SQLITE) and not Path(self.store_uri.removeprefix(SQLITE)).exists()


@dataclass
class RunRecord:
    """A run as the store holds it: ``params``, ``tags`` and the last value of each of its ``metrics``."""

    run_id: str
    name: str
    experiment: str
    status: str
    started_ms: int
    folder: Path
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def shown_status(self) -> str:
        """The status; of a run that is marked as running but has been silent for long, that it seems dead."""
        seen_ms = int(self.tags.get(HEARTBEAT_TAG, self.started_ms))
        silent_s = time.time() - seen_ms / 1000
        if self.status != "RUNNING" or silent_s < SILENT_S:
            return self.status.lower()
        return f"dead? silent for {silent_s / 3600:.1f} h"

    @property
    def last_checkpoint(self) -> Path:
        """Path of the checkpoint to resume from, whether or not it exists."""
        return self.folder / "checkpoints" / "last.ckpt"


def open_store(settings: TrackingSettings) -> MlflowClient:
    """Connect to the store and check that it answers.

    Raises:
        TrackingError: if it cannot be reached or opened; within about ten seconds.
    """
    for name, value in _QUICK_TO_FAIL.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with _one_at_a_time(settings):
            client = MlflowClient(tracking_uri=settings.store_uri)
            client.search_experiments(max_results=1)
    except Exception as error:
        cure = (
            "Start the server, or unset MLFLOW_TRACKING_URI to keep runs in a local file"
            if settings.on_server
            else "Check the folder"
        )
        raise TrackingError(
            f"the MLflow store {settings.shown_uri} cannot be opened: {reason_of(error)}. {cure}."
        ) from error
    return client


@contextmanager
def _one_at_a_time(settings: TrackingSettings) -> Iterator[None]:
    """Keep two processes from creating the tables of a new database at the same time."""
    if not settings.store_uri.startswith("sqlite:"):
        yield
        return
    settings.runs_folder.mkdir(parents=True, exist_ok=True)
    with open(settings.runs_folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def reason_of(error: Exception) -> str:
    """Return the first line of an error's message, without any password."""
    return without_password((str(error).strip() or type(error).__name__).splitlines()[0])


def list_runs(experiment: str | None = None, settings: TrackingSettings | None = None) -> list[RunRecord]:
    """List the runs of an experiment, or of all experiments, newest first.

    Raises:
        TrackingError: if the store cannot be reached or holds no such experiment.
    """
    settings = settings or TrackingSettings()
    if settings.is_new:
        if experiment is not None:
            raise _unknown("experiment", experiment, [], settings)
        return []
    client = open_store(settings)
    names = {found.experiment_id: found.name for found in client.search_experiments()}
    if experiment is not None:
        chosen = {key: name for key, name in names.items() if name == experiment}
        if not chosen:
            raise _unknown("experiment", experiment, sorted(names.values()), settings)
        names = chosen
    return [_record(run, names[run.info.experiment_id], settings) for run in _search(client, list(names))]


def find_run(reference: str, settings: TrackingSettings | None = None) -> RunRecord:
    """Find a run by its id, the first characters of its id, its name, or its experiment's name (the newest run).

    Raises:
        TrackingError: if no run, or more than one, matches; the message names similar runs.
    """
    settings = settings or TrackingSettings()
    runs = list_runs(settings=settings)
    by_id = [run for run in runs if len(reference) >= SHORTEST_PREFIX and run.run_id.startswith(reference.lower())]
    if len(by_id) > 1:
        raise TrackingError(
            f"{len(by_id)} run ids begin with '{reference}': {_shown(by_id)}. Give more characters of the id."
        )
    matches = (
        by_id or [run for run in runs if run.name == reference] or [run for run in runs if run.experiment == reference]
    )
    if not matches:
        known = list(dict.fromkeys(name for run in runs for name in (run.experiment, run.name, run.run_id[:8])))
        raise _unknown("run", reference, known, settings, newest=_shown(runs[:3]))
    return matches[0]


def _search(client: MlflowClient, experiment_ids: list[str]) -> Iterator[Any]:
    token = None
    while experiment_ids:
        page = client.search_runs(experiment_ids, order_by=["attributes.start_time DESC"], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _record(run: Any, experiment: str, settings: TrackingSettings) -> RunRecord:
    info, tags = run.info, {unescape(name): value for name, value in run.data.tags.items()}
    folder = Path(tags.get(FOLDER_TAG, ""))
    if FOLDER_TAG not in tags or not folder.is_dir():
        # The runs folder may have been moved since.
        folder = run_folder(settings, experiment, info.run_id)
    params = {unescape(name): value for name, value in run.data.params.items()} | changed_params(tags)
    metrics = {unescape(name): value for name, value in run.data.metrics.items()}
    return RunRecord(
        info.run_id, info.run_name or "", experiment, info.status, info.start_time, folder, params, metrics, tags
    )


def directions_of(folder: Path, run_id: str, settings: TrackingSettings) -> dict[str, list[Any]]:
    """Return unit and direction of a run's metrics by name; empty if the run has stored none.

    Args:
        folder: Local folder of the run. If it is on another machine, the file comes from the store.
        run_id: Id of the run.
        settings: The store.

    Raises:
        DataError: if the file is damaged.
    """
    file = folder / MEASURES
    if not folder.is_dir():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            file = Path(MlflowClient(tracking_uri=settings.store_uri).download_artifacts(run_id, MEASURES))
        except (MlflowException, OSError):  # there is none
            return {}
    return read_stored(file, DIRECTIONS, "Remove it: only units and directions are lost") if file.exists() else {}


def changed_params(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that a resumed run has changed; they are tags, as MLflow refuses to change a parameter."""
    return {name.removeprefix(CHANGED_TAG): value for name, value in tags.items() if name.startswith(CHANGED_TAG)}


def run_folder(settings: TrackingSettings, experiment: str, run_id: str) -> Path:
    """Return the local folder of a run."""
    return settings.runs_folder / file_name(experiment) / run_id


def file_name(name: str) -> str:
    """Turn a name or an id into a part of a path; of a long one, a readable beginning and a hash."""
    plain = re.sub(r"[^\w.-]+", "_", name)
    if len(plain.encode()) <= LONGEST_FILE_NAME:
        return plain
    beginning = plain.encode()[: LONGEST_FILE_NAME - 13].decode(errors="ignore")
    return f"{beginning}-{sha256(name.encode()).hexdigest()[:12]}"


def _shown(runs: list[RunRecord]) -> str:
    return ", ".join(f"{run.run_id[:8]} ({run.experiment}, {run.name})" for run in runs)


def _unknown(kind: str, given: str, known: list[str], settings: TrackingSettings, newest: str = "") -> TrackingError:
    near = nearest(given, known)
    meant = near and f"did you mean `{near}`?"
    hint = meant or (newest and "newest runs: " + newest) or "it holds " + (", ".join(known[:5]) or "no runs yet")
    absent = f"there is no folder {given}, and " if "/" in given and not Path(given).exists() else ""
    return TrackingError(f"{absent}no {kind} '{given}' in {settings.shown_uri}; {hint}")
