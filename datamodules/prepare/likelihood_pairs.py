"""Manifests of pairs of a right and a wrong recording, whose likelihoods are compared."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spectron.audio.io import read_audio
from spectron.datamodules.prepare.manifests import Prepared, recorded, write_lines
from spectron.datamodules.prepare.pair_layouts import FoundPair, find_pairs
from spectron.datamodules.schema import PAIR, problem_of
from spectron.errors import DataError

# A shorter shared beginning is only the silence before the speech.
MIN_CONTEXT_SECONDS = 0.2


def prepare_pairs(folder: Path, output: Path) -> Prepared:
    """Write a manifest of the pairs in a folder of sWUGGY, sBLIMP, StoryCloze or SALMon.

    Args:
        folder: Folder in its published layout.
        output: The manifest to write; ``spectron.datamodules.pairs.read_pairs`` describes its lines.

    Raises:
        DataError: if the folder has no known layout or no usable pair.
    """
    output = Path(output)
    found = find_pairs(Path(folder))
    with ThreadPoolExecutor(8) as pool:  # threads, because the disk is the bottleneck
        lines = list(pool.map(lambda pair: _line(pair, output, found.same_beginning), found.pairs))
    skipped = found.skipped | {
        pair.id: line for pair, line in zip(found.pairs, lines, strict=True) if isinstance(line, str)
    }
    entries = [line for line in lines if not isinstance(line, str)]
    if not entries:
        raise DataError(
            f"none of the {len(skipped)} recordings and pairs in {folder} can be used, "
            f"the first because: {next(iter(skipped.values()))}"
        )
    write_lines(output, entries)
    seconds = sum(entry["positive_duration"] + entry["negative_duration"] for entry in entries)
    return Prepared(
        [output], len(entries), seconds / 3600, dict(Counter(entry["group"] for entry in entries)), skipped, "pairs"
    )


def _line(pair: FoundPair, output: Path, same_beginning: bool) -> dict[str, Any] | str:
    """Return the manifest line of a pair, or the reason why it has none."""
    line: dict[str, Any] = {"id": pair.id, "group": pair.group}
    try:
        for name, side in (("positive", pair.positive), ("negative", pair.negative)):
            audio = recorded(side.file, output)
            line |= {f"{name}_{key}": audio[key] for key in ("audio_filepath", "duration")} | {
                f"{name}_text": side.text
            }
        context = _shared_seconds(pair.positive.file, pair.negative.file) if same_beginning else 0.0
    except DataError as error:
        return error.message
    if context >= min(line["positive_duration"], line["negative_duration"]):
        return "one recording is the beginning of the other, so there is no difference to score"
    line |= {"context_seconds": context if context >= MIN_CONTEXT_SECONDS else 0.0}
    return problem_of(line, PAIR) or line


def _shared_seconds(one: Path, other: Path) -> float:
    """Return the duration in seconds of the beginning that two recordings share, exact to the sample."""
    (first, rate), (second, other_rate) = read_audio(one), read_audio(other)
    if rate != other_rate:
        return 0.0
    length = min(len(first), len(second))
    different = (first[:length] != second[:length]).nonzero()
    return float(different[0] if len(different) else length) / rate
