"""Common functions of all preparations: check recordings, write complete manifests, count their items."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from spectron.audio.io import examine_audio
from spectron.datamodules.manifest import repeated
from spectron.datamodules.schema import UTTERANCE, problem_of, words_beyond
from spectron.errors import DataError
from spectron.files import remove_abandoned, write_text
from spectron.text_files import read_json_lines


@dataclass
class Prepared:
    """Result of a preparation.

    Attributes:
        manifests: The files for a data module.
        items: Number of utterances or pairs.
        hours: Hours of speech.
        splits: Number of items by split, or by group for pairs.
        skipped: Reason by skipped item.
        unit: Name of the items.
    """

    manifests: list[Path]
    items: int
    hours: float
    splits: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unit: str = "utterances"


def recorded(file: Path, output: Path) -> dict[str, Any]:
    """Return path, duration and sample rate of a recording for a manifest.

    Args:
        file: The recording.
        output: The manifest; its paths are relative to its folder.

    Raises:
        DataError: if the recording is unreadable, empty, truncated, or contains impossible samples.
    """
    header = examine_audio(file)
    return {
        "audio_filepath": os.path.relpath(file.resolve(), output.resolve().parent),
        "duration": header.seconds,
        "sample_rate": header.rate,
    }


def write_manifest(output: Path, entries: Iterable[dict[str, Any]], skipped: dict[str, str]) -> Prepared:
    """Write a manifest of utterances; those that no reader would accept are skipped."""
    skipped = dict(skipped)
    usable = []
    for entry in entries:
        words = entry.get("words")
        problem = problem_of(entry, UTTERANCE) or words_beyond(words, entry["duration"], entry["sample_rate"])
        if problem is None:
            usable.append(entry)
        else:
            skipped[entry["id"]] = problem
    if not usable:
        raise DataError(
            f"none of the {len(skipped)} items can be used, the first because it {next(iter(skipped.values()))}"
        )
    write_lines(output, usable)
    return summary([output], skipped)


def write_lines(output: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines into a temporary file and rename it, so that an existing manifest is always complete.

    Raises:
        DataError: if two lines have the same id.
        WriteError: if the file cannot be written.
    """
    entries = list(entries)
    if twice := repeated(entry["id"] for entry in entries):
        raise DataError(
            f"several recordings would have the id {twice[0]!r} ({len(twice)} repeated ids): rename a file or folder"
        )
    remove_abandoned(output.parent, escape(output.name))
    write_text(output, "".join(json.dumps(entry) + "\n" for entry in entries))


def summary(manifests: list[Path], skipped: dict[str, str]) -> Prepared:
    """Count items, hours and splits of manifests of utterances."""
    entries = [line.content for manifest in manifests for line in read_json_lines(manifest)]
    splits = Counter(entry["split"] for entry in entries)
    seconds = sum(entry["duration"] + entry.get("answer_duration", 0.0) for entry in entries)
    return Prepared(manifests, len(entries), seconds / 3600, dict(splits), skipped)
