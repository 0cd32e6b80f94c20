"""What is kept of every judged item: one line of ``items.jsonl``, and while a suite runs the batches that are done."""

from __future__ import annotations

import json
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
from spectron.evaluation.metrics import CorpusMetric, RatioMetric, SpokenMetric
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import ratio_of
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample
from spectron.files import written_whole
from spectron.tracking.store import file_name

LONGEST_NAME = 150  # characters, of the 255 that file systems take


class Stopwatch:
    """How long an evaluation was at work, over all the times that it was taken up again.

    Args:
        file: Where the time is kept.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.since = file, time.perf_counter()
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.started: str = before.get("started", datetime.now(UTC).isoformat(timespec="seconds"))
        self.before: float = before.get("seconds", 0.0)

    def times(self) -> dict[str, Any]:
        """When it was begun, and the seconds so far."""
        return {"started": self.started, "seconds": round(self.before + time.perf_counter() - self.since, 1)}

    def keep(self) -> None:
        """Keep the time so far, for when this is cut off."""
        with written_whole(self.file) as part:
            part.write_text(json.dumps(self.times()), encoding="utf-8")


@dataclass
class Record:
    """One item of a task as one system answered it.

    Args:
        id: Id of the utterance.
        split: Part of the data that it is from, empty where the data names none.
        facts: Texts, lengths and scores, as they stand in ``items.jsonl``.
        parts: What it adds to each metric; None where it cannot be used.
        traits: What metrics of one item among all others need of it; it has their parts when all items are there.
        failure: Why there is no answer or no judgement; None where there are both.
        waveforms: Speech (S,) with its rate by kind, to be written beside; not kept in the line itself.
    """

    id: str
    split: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, NumeratorAndDenominator] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    waveforms: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def line(self, task: str, system: str, audio: dict[str, str]) -> dict[str, Any]:
        """The line of ``items.jsonl``."""
        where = {"task": task, "system": system, "id": self.id, "split": self.split}
        return (
            where | self.facts | {"audio": audio, "parts": self.parts, "traits": self.traits, "failure": self.failure}
        )


def record_of(sample: SpokenSample, metrics: Sequence[SpokenMetric]) -> Record:
    """The record of a judged sample."""
    parts = {
        metric.label.name: metric.numerator_and_denominator(sample)
        for metric in metrics
        if isinstance(metric, RatioMetric)
    }
    traits = {metric.label.name: metric.trait_of(sample) for metric in metrics if isinstance(metric, CorpusMetric)}
    # From the parts at hand: some metrics take seconds to look at a sample again.
    scores = {name: ratio_of(part) for name, part in parts.items()} | dict.fromkeys(traits)
    return Record(sample.id, sample.split, facts_of(sample, scores), parts, traits, None, waveforms_of(sample))


def waveforms_of(sample: SpokenSample) -> dict[str, tuple[Tensor, int]]:
    """A sample's speech (S,) with its rate, by kind."""
    return {
        "prompt": (sample.prompt, sample.prompt_rate_hz),
        "generated": (sample.generated, sample.speech_rate_hz),
        "reference": (sample.reference, sample.speech_rate_hz),
    }


def facts_of(sample: SpokenSample, scores: dict[str, float | None]) -> dict[str, Any]:
    """Names, texts, lengths and scores of one sample."""
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
        "prompt_seconds": round(len(sample.prompt) / sample.prompt_rate_hz, 3),
        "generated_seconds": round(sample.generated_seconds, 3),
        "reference_seconds": round(sample.reference_seconds, 3),
        "scores": scores,
    }


def audio_name(name: str) -> str:
    """An id as the name of a file; one that cannot be, or is too long, ends in a hash that tells it from all others."""
    plain = file_name(name)
    return (
        name
        if plain == name and len(name) <= LONGEST_NAME
        else f"{plain[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:12]}"
    )


def write_waveforms(record: Record, folder: Path, task: str, system: str) -> dict[str, str]:
    """Write a record's speech below ``folder``; the paths, seen from there, by kind, without those that hold no sample.

    Prompts and references are the same for all systems, and are written once; so is an answer that is the reference itself.
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
    """The batches that are done, in a file a process, so that a suite goes on where it was cut off.

    Args:
        folder: Folder of these files.
        rank: Number of this process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / f"rank-{rank}.jsonl"
        _drop_torn_line(self.file)

    def read(self) -> dict[Key, list[dict[str, Any]]]:
        """Lines of all batches done by all processes."""
        return {key: lines for path in sorted(self.folder.glob("rank-*.jsonl")) for key, lines in _batches(path)}

    def add(self, key: Key, lines: list[dict[str, Any]]) -> None:
        """Write a batch at once and have it on the disk."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "lines": lines}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _batches(path: Path) -> Iterator[tuple[Key, list[dict[str, Any]]]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                batch = json.loads(line)
                task, system, number = batch["key"]
                yield (task, system, number), batch["lines"]


def _drop_torn_line(path: Path) -> None:
    """Remove what a killed process left of a line."""
    if path.is_file():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)
