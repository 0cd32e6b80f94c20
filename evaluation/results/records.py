"""Records of judged items: the lines of ``items.jsonl``, and the stored batches of an unfinished evaluation."""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectron.audio.io import write_wav
from spectron.errors import DataError
from spectron.evaluation.metrics import CorpusMetric, RatioMetric, SpokenMetric
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import ratio_of
from spectron.evaluation.results.schemas import BATCH_LINE, TIMES
from spectron.evaluation.results.summary import finite, sha256_of
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample
from spectron.files import write_text, writing
from spectron.stored_json import read_stored, require, storable
from spectron.text_files import parse_json
from spectron.tracking.store import file_name

log = logging.getLogger(__name__)


class Stopwatch:
    """Start and duration of an evaluation, summed over all its resumed runs.

    Args:
        file: JSON file that stores both.

    Raises:
        DataError: if the file is damaged.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.since = file, time.perf_counter()
        before = read_stored(file, TIMES, "Remove it: only the time of earlier runs is lost") if file.exists() else {}
        self.started: str = before.get("started", datetime.now(UTC).isoformat(timespec="seconds"))
        self.before: float = before.get("seconds") or 0.0

    def times(self) -> dict[str, Any]:
        """Return the start of the first run, and the seconds of all runs so far."""
        return {"started": self.started, "seconds": round(self.before + time.perf_counter() - self.since, 1)}

    def keep(self) -> None:
        """Store the time so far, for the case of an interruption."""
        write_text(self.file, json.dumps(self.times()))


@dataclass
class Record:
    """Answer of one system to one item of a task.

    Args:
        id: Id of the utterance.
        split: Split of the data; empty if the data has none.
        facts: Texts, lengths and scores for ``items.jsonl``.
        parts: Numerator and denominator that the item adds to each metric; None if the metric skips it.
        traits: Values that metrics over all items need from this item; they become parts when all items are judged.
        failure: Why the answer or its judgement is missing; None if there is no failure.
        waveforms: Speech (S,) with its sample rate by kind; it is written to audio files, not into the line.
    """

    id: str
    split: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, NumeratorAndDenominator] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    waveforms: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def line(self, task: str, system: str, audio: dict[str, str]) -> dict[str, Any]:
        """Return the line of ``items.jsonl``; ``audio`` are the paths of the audio files by kind."""
        line = {"task": task, "system": system, "id": self.id, "split": self.split} | self.facts
        return line | {"audio": audio, "parts": self.parts, "traits": self.traits, "failure": self.failure}


def record_of(sample: SpokenSample, metrics: Sequence[SpokenMetric]) -> Record:
    """Return the record of a judged sample."""
    ratios = [metric for metric in metrics if isinstance(metric, RatioMetric)]
    parts = {metric.label.name: _finite(metric.numerator_and_denominator(sample)) for metric in ratios}
    traits = {metric.label.name: metric.trait_of(sample) for metric in metrics if isinstance(metric, CorpusMetric)}
    # Computed from the parts, because some metrics need seconds per sample.
    scores = {name: ratio_of(part) for name, part in parts.items()} | dict.fromkeys(traits)
    return Record(sample.id, sample.split, facts_of(sample, scores), parts, traits, None, waveforms_of(sample))


def _finite(part: NumeratorAndDenominator) -> NumeratorAndDenominator:
    """Return a part, or None, as of a skipped item, if it is not finite: it would leave the metric without a value."""
    return None if part is None or None in map(finite, part) else part


def waveforms_of(sample: SpokenSample) -> dict[str, tuple[Tensor, int]]:
    """Return the speech (S,) of a sample with its sample rate, by kind."""
    return {
        "prompt": (sample.prompt, sample.prompt_rate_hz),
        "generated": (sample.generated, sample.speech_rate_hz),
        "reference": (sample.reference, sample.speech_rate_hz),
    }


def facts_of(sample: SpokenSample, scores: dict[str, float | None]) -> dict[str, Any]:
    """Return names, texts, lengths and scores of a sample."""
    return {
        "id": sample.id,
        "speaker": sample.speaker,
        "split": sample.split,
        "prompt_text": sample.prompt_text,
        "transcript": sample.transcript,
        "continuation_text": sample.continuation_text,
        "text": sample.text,
        "heard": sample.evidence_of(TRANSCRIPT),
        "reference_text": sample.reference_text,
        "answers": sample.answers,
        "stopped": sample.stopped,
        "text_stopped": sample.text_stopped,
        "prompt_seconds": round(len(sample.prompt) / sample.prompt_rate_hz, 3),
        "generated_seconds": round(sample.generated_seconds, 3),
        "reference_seconds": round(sample.reference_seconds, 3),
        "scores": scores,
    }


def audio_name(name: str) -> str:
    """Return a unique file name for an id: the id itself if possible, otherwise a readable part of it with a hash."""
    plain = file_name(name)
    return name if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:12]}"


def write_waveforms(record: Record, folder: Path, task: str, system: str) -> dict[str, str]:
    """Write a record's speech into ``folder``, and return the relative paths by kind, without empty waveforms.

    Prompts and references are equal for all systems, so they are written once. An answer that equals the reference is
    not written again.
    """
    places = {"prompt": "prompt", "generated": system, "reference": "reference"}
    if record.waveforms and torch.equal(record.waveforms["generated"][0], record.waveforms["reference"][0]):
        places["generated"] = "reference"
    name = audio_name(record.id)
    paths = {}
    for kind, (waveform, rate) in record.waveforms.items():
        if len(waveform):
            paths[kind] = f"audio/{file_name(task)}/{places[kind]}/{name}.wav"
            if places[kind] == system or not (folder / paths[kind]).is_file():
                write_wav(folder / paths[kind], waveform, rate)
    return paths


Key = tuple[str, str, int]  # task, system, batch


class DoneBatches:
    """Stored batches of an evaluation, in one file per process, so that an interrupted evaluation can be resumed.

    A line contains the SHA-256 of its batch. A damaged line is no stored batch, and the batch is judged again. Such a
    line is the incomplete one that a killed process leaves.

    Args:
        folder: Folder of the files.
        rank: Number of this process.

    Raises:
        DataError: if a file cannot be read.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / f"rank-{rank}.jsonl"
        _end_last_line(self.file)

    def read(self) -> dict[Key, list[dict[str, Any]]]:
        """Return the lines of all batches of all processes."""
        return {key: lines for path in sorted(self.folder.glob("rank-*.jsonl")) for key, lines in _batches(path)}

    def add(self, key: Key, lines: list[dict[str, Any]]) -> None:
        """Append a batch and wait until it is on the disk."""
        batch = storable({"key": key, "lines": lines})
        batch["sha256"] = sha256_of(batch)
        with writing(self.file), self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(batch, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _batches(path: Path) -> Iterator[tuple[Key, list[dict[str, Any]]]]:
    """Yield the batches of a file, without those of damaged lines."""
    for number, line in enumerate(_bytes_of(path).split(b"\n"), 1):
        if not line:
            continue
        where = f"{path}:{number}"
        try:
            batch = parse_json(line.decode("utf-8", "replace"), where, path)
            require(batch, BATCH_LINE, where, path, "It is not used")
            if batch.pop("sha256") != sha256_of(batch):
                raise DataError(f"{where} differs from its SHA-256", file=path)
        except DataError as error:
            _warn_once(f"{error.message}: the batch of this line is judged again")
            continue
        task, system, place = batch["key"]
        yield (task, system, place), batch["lines"]


def _end_last_line(path: Path) -> None:
    """End an incomplete last line, so that the next line is not appended to it."""
    if path.exists() and not _bytes_of(path).endswith(b"\n"):
        with writing(path), path.open("ab") as file:
            file.write(b"\n")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path} ({error}): remove it, and its batches are judged again", file=path
        ) from error


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)
