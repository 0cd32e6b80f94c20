"""Outbox of an MLflow run: records are sent in order, and kept in a file while the store does not accept them."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectron.errors import SpectronError, TrackingError
from spectron.files import writing, written_whole
from spectron.stored_json import anything, count, fields, mapping, name, text
from spectron.terminal import say, visible_lines
from spectron.tracking.mlflow_names import escape
from spectron.tracking.store import TrackingSettings, open_store, reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILE = "outbox.jsonl"  # kept records, in the folder of the run
COPIES = "outbox"  # folder of the run with copies of files that those records name
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 300.0
# What a record contains, by kind.
RECORDS = {
    "metrics": fields({"values": mapping(anything), "step": count, "time_ms": count}),
    "params": fields({"values": mapping(text)}),
    "tags": fields({"values": mapping(text)}),
    "status": fields({"status": text, "time_ms": count}),
    "artifact": fields({"path": name, "folder": text}),
}
_NEVER_ACCEPTED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")

log = logging.getLogger(__name__)


class Outbox:
    """Queue that sends records to one run.

    A record that cannot be sent is appended to ``outbox.jsonl`` in the folder of the run, and so are all later records,
    until the store answers again. The pause between two attempts is ``pause_s`` at first and doubles up to 5 minutes.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        folder: Local folder of the run.
        store_uri: Address of the store, for log lines.
        pause_s: Seconds before the second attempt.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, folder: Path, store_uri: str, pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.folder = folder
        self.store_uri = store_uri
        self.file = folder / FILE
        self.first_pause_s = self.pause_s = pause_s
        self.next_try = 0.0

    def send(self, record: dict[str, Any]) -> None:
        """Send a record, or keep it if the store does not accept it now; never raises because of the store.

        Raises:
            WriteError: if it is to be kept, and the disk is full.
        """
        if self.file.exists():
            self._keep(record)
            if time.monotonic() >= self.next_try:
                self.flush()
            return
        try:
            self._deliver(record)
        except Exception as error:
            self._keep(record)
            self._wait(error)

    def flush(self) -> int:
        """Try to send all kept records; return how many are still kept."""
        if not self.file.exists():
            return 0
        records = _records(self.file)
        for position, record in enumerate(records):
            try:
                self._deliver(record)
            except Exception as error:
                self._rewrite(records[position:])
                self._wait(error)
                return len(records) - position
        self.file.unlink()
        shutil.rmtree(self.folder / COPIES, ignore_errors=True)
        self.pause_s = self.first_pause_s
        log.warning("MLflow store %s answers again: %d kept records are sent", self.store_uri, len(records))
        return 0

    def _deliver(self, record: dict[str, Any]) -> None:
        """Send one record; log and drop a record that the store will never accept.

        Raises:
            Exception: if the store cannot accept it now.
        """
        from mlflow.exceptions import MlflowException

        try:
            _deliver(self.client, self.run_id, record)
        except MlflowException as error:
            if error.error_code not in _NEVER_ACCEPTED:
                raise
            values = record.get("values", {})
            if len(values) > 1:  # MLflow refuses a batch as a whole: the others are sent without the refused ones
                for name, value in values.items():
                    self._deliver(record | {"values": {name: value}})
                return
            what = f"`{next(iter(values))}`" if values else f"a record of kind '{record['kind']}'"
            log.warning("MLflow refused %s: %s", what, reason_of(error))
        except FileNotFoundError as error:
            log.warning("not sent to MLflow, as the file no longer exists: %s", error)

    def _keep(self, record: dict[str, Any]) -> None:
        with writing(self.folder):
            if record["kind"] == "artifact":
                record = record | {"path": str(self._own_copy(Path(record["path"])))}
            with self.file.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def _own_copy(self, path: Path) -> Path:
        """Return a path that will still exist later: files outside the run's folder may be temporary."""
        if path.is_relative_to(self.folder) or not path.exists():
            return path
        copy = self.folder / COPIES / str(time.time_ns()) / path.name
        copy.parent.mkdir(parents=True)
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, copy)
        return copy

    def _rewrite(self, records: list[dict[str, Any]]) -> None:
        with written_whole(self.file) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in records))

    def _wait(self, error: Exception) -> None:
        log.warning(
            "MLflow store %s does not answer (%s); records are kept in %s and sent when it answers again",
            self.store_uri,
            reason_of(error),
            self.file,
        )
        self.next_try = time.monotonic() + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)


def _records(file: Path) -> list[dict[str, Any]]:
    """Return the whole records of a file: a killed process may have written half of its last line.

    Raises:
        TrackingError: if the file cannot be read.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise TrackingError(
            f"cannot read {file} ({error}): remove it, and the records in it are lost", file=file
        ) from error
    return [record for record in map(_record, lines) if record is not None]


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None if the line is damaged."""
    try:
        record = json.loads(line)
        complete = not any(RECORDS[record["kind"]](record))
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    return record if complete else None


def _deliver(client: MlflowClient, run_id: str, record: dict[str, Any]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    kind = record["kind"]
    if kind == "metrics":
        when = (record["time_ms"], record["step"])
        client.log_batch(run_id, [Metric(escape(name), value, *when) for name, value in record["values"].items()])
    elif kind == "params":
        client.log_batch(run_id, params=[Param(escape(name), value) for name, value in record["values"].items()])
    elif kind == "tags":
        client.log_batch(run_id, tags=[RunTag(escape(name), value) for name, value in record["values"].items()])
    elif kind == "status":
        client.set_terminated(run_id, status=record["status"], end_time=record["time_ms"])
    elif kind == "artifact":
        path = Path(record["path"])
        if not path.exists():
            raise FileNotFoundError(path)
        (client.log_artifacts if path.is_dir() else client.log_artifact)(run_id, str(path), record["folder"] or None)


def send_outbox(folder: Path, uri: str | None = None) -> int:
    """Send the records that a run has kept; return how many were sent.

    Args:
        folder: Folder of the run; its name is the run id.
        uri: Address of the store; by default that of ``TrackingSettings``.

    Raises:
        TrackingError: if the run has kept no records, or the store still does not accept them.
    """
    settings = TrackingSettings(uri=uri)
    file = folder / FILE
    if not file.is_file():
        raise TrackingError(f"{folder} has no {FILE}: every record of this run was sent.")
    waiting = len(_records(file))
    left = Outbox(open_store(settings), folder.resolve().name, folder, settings.shown_uri).flush()
    if left:
        raise TrackingError(f"{left} records of {file} could not be sent: {settings.shown_uri} did not accept them.")
    return waiting


if __name__ == "__main__":
    try:
        say(f"{send_outbox(Path(sys.argv[1]), *sys.argv[2:3])} records sent")
    except IndexError:
        sys.exit("usage: python -m spectron.tracking.outbox RUN_FOLDER [STORE_URI]")
    except SpectronError as error:
        sys.exit(visible_lines(str(error)))
