"""What every preparation does: looks at recordings, writes a manifest whole or not at all, counts what it holds."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile

from spectron.datamodules.manifest import repeated
from spectron.errors import DataError
from spectron.files import written_whole


@dataclass
class Prepared:
    """What a preparation made.

    Attributes:
        manifests: The files that a data module can be pointed at.
        items: How many utterances, or pairs of them, they hold.
        hours: How much speech.
        splits: Items in each split; of pairs, in each group.
        skipped: Items left out, each with its reason.
        unit: What an item is.
    """

    manifests: list[Path]
    items: int
    hours: float
    splits: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unit: str = "utterances"


def recorded(file: Path, output: Path) -> dict[str, Any]:
    """What a manifest says of a recording.

    Args:
        file: The recording.
        output: The manifest; paths in it are relative to its folder.

    Raises:
        DataError: if it cannot be read or holds no sample.
    """
    try:
        info = soundfile.info(str(file))
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"unreadable: {error}") from error
    if not info.frames:
        raise DataError("it holds no sample")
    return {
        "audio_filepath": relative(file, output),
        "duration": info.frames / info.samplerate,
        "sample_rate": info.samplerate,
    }


def relative(file: Path, output: Path) -> str:
    """A path as seen from the manifest's folder."""
    return os.path.relpath(file.resolve(), output.resolve().parent)


def write_manifest(output: Path, entries: Iterable[dict[str, Any]], skipped: dict[str, str]) -> Prepared:
    """Write a manifest of utterances."""
    write_lines(output, entries)
    return summary([output], skipped)


def write_lines(output: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines aside and rename them, so that a manifest that exists is whole.

    Raises:
        DataError: if it cannot be written, or two lines have one id.
    """
    entries = list(entries)
    if twice := repeated(entry["id"] for entry in entries):
        raise DataError(
            f"two recordings would have the id {twice[0]!r} ({len(twice)} ids in all): rename one of their files or folders"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(output) as aside:
            aside.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    except OSError as error:
        raise DataError(
            f"cannot write the manifest {output} ({error}): choose a folder that you may write to"
        ) from error


def summary(manifests: list[Path], skipped: dict[str, str]) -> Prepared:
    """Count what manifests of utterances hold."""
    entries = [json.loads(line) for manifest in manifests for line in manifest.read_text().split("\n") if line]
    splits = Counter(entry["split"] for entry in entries)
    seconds = sum(entry["duration"] + entry.get("answer_duration", 0.0) for entry in entries)
    return Prepared(manifests, len(entries), seconds / 3600, dict(splits), skipped)
