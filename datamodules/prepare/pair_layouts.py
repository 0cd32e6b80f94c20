"""Published layouts of test sets with pairs of a right and a wrong recording.

- ZeroSpeech 2021 (Nguyen et al. 2020), sWUGGY in ``lexical/dev`` and sBLIMP in ``syntactic/dev``: recordings and a
  ``gold.csv`` with the columns ``id``, ``filename``, ``voice`` and ``correct``, and either ``word`` and ``frequency``,
  or ``type``, ``subtype`` and ``transcription``.
- Spoken StoryCloze and Topic-StoryCloze (Hassid et al. 2023): ``<number>_<story>_correct.wav`` and
  ``<number>_<story>_incorrect.wav``.
- SALMon (Maimon et al. 2024): a folder per task with ``sample_<number>_0.wav`` (right) and ``sample_<number>_1.wav``.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spectron.audio.io import AUDIO_SUFFIXES
from spectron.errors import DataError
from spectron.files import is_file
from spectron.text_files import read_text

LAYOUTS = (
    re.compile(r"sample_(?P<item>(?P<order>\d+))_(?P<which>0|1|positive|negative)"),
    re.compile(r"(?:(?P<order>\d+)_)?(?P<item>.+)_(?P<which>correct|incorrect)"),
)
RIGHT = {"correct", "0", "positive"}  # in SALMon, number 0 is right
NEEDED = ("id", "filename", "voice", "correct")


@dataclass
class Side:
    """Recording of a pair, and its text if known."""

    file: Path
    text: str | None = None


@dataclass
class FoundPair:
    """Right and wrong recording; results are reported by group."""

    id: str
    group: str
    positive: Side
    negative: Side


@dataclass
class Found:
    """Pairs of a folder.

    Attributes:
        pairs: Pairs in the order of their ids.
        skipped: Reason by recording without a counterpart.
        same_beginning: Whether the recordings of a pair can share their first samples.
    """

    pairs: list[FoundPair] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    same_beginning: bool = False

    def match(self, name: str, group: str, right: list[Side], wrong: list[Side]) -> None:
        """Match recordings in their order; those without a counterpart are skipped."""
        several = max(len(right), len(wrong)) > 1
        for number, (positive, negative) in enumerate(zip(right, wrong, strict=False), 1):
            self.pairs.append(FoundPair(f"{name}-{number}" if several else name, group, positive, negative))
        matched = min(len(right), len(wrong))
        for side in (*right[matched:], *wrong[matched:]):
            self.skipped[str(side.file)] = "the other recording of its pair is missing"


def find_pairs(folder: Path) -> Found:
    """Return all pairs of a folder in any of the layouts.

    Raises:
        DataError: if the folder has none of the layouts, or its table is invalid.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if (folder / "gold.csv").is_file():
        return _zerospeech(folder / "gold.csv")
    for pattern in LAYOUTS:
        named = [(match, file) for file in files if (match := pattern.fullmatch(file.stem))]
        if named:
            return _by_name(named)
    raise DataError(
        f"{folder} contains no pairs: no gold.csv (a folder such as lexical/dev or syntactic/dev of ZeroSpeech "
        "2021), no <number>_<story>_correct.wav (StoryCloze), and no <task>/sample_<number>_0.wav (SALMon). "
        "Name another folder"
    )


def _zerospeech(table: Path) -> Found:
    """Match words (sWUGGY) or sentences (sBLIMP) by id and voice; the group is a word's band or a sentence's type."""
    sides: dict[tuple[str, ...], tuple[list[Side], list[Side]]] = defaultdict(lambda: ([], []))
    groups: dict[tuple[str, ...], str] = {}
    found = Found()
    for where, row in _rows(table):
        file = table.parent / f"{row['filename'].removesuffix('.wav')}.wav"
        if not is_file(file):
            found.skipped[str(file)] = f"named in {table.name}, but missing"
            continue
        key = tuple(row.get(name) or "" for name in ("type", "subtype", "id", "voice"))
        right = row["correct"] == "1"
        sides[key][not right].append(Side(file, row.get("transcription") or row.get("word") or None))
        if right:
            groups[key] = row.get("type") or _band(row.get("frequency"), where)
    for key, (right_ones, wrong_ones) in sides.items():
        found.match(_name(*key), groups.get(key, ""), right_ones, wrong_ones)
    return found


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a ``gold.csv``, each with its place."""
    rows = csv.DictReader(io.StringIO(read_text(table)))
    try:
        missing = [name for name in NEEDED if name not in (rows.fieldnames or [])]
        if missing:
            raise DataError(
                f"{table} has no column {', '.join(missing)}: name the folder of a set that is published with its gold"
            )
        for row in rows:
            where = f"{table}:{rows.line_num}"
            if not all(row[name] for name in NEEDED) or row["correct"] not in ("0", "1"):
                raise DataError(f"{where} should have {', '.join(NEEDED)}, the last of them 0 or 1: mend the line")
            yield where, row
    except csv.Error as error:
        raise DataError(f"{table}:{rows.line_num} is no line of a CSV table ({error}): correct it") from error


def _band(frequency: str | None, where: str) -> str:
    """Return the group of a word, which depends on its occurrence in LibriSpeech."""
    try:
        return "in_vocabulary" if float(frequency or 0) > 0 else "out_of_vocabulary"
    except ValueError as error:
        raise DataError(f"{where} has {frequency!r} as 'frequency', which should be a number: mend the line") from error


def _by_name(named: list[tuple[re.Match[str], Path]]) -> Found:
    """The two recordings of a sample or a story have one name in one folder, which is their group."""
    sides: dict[tuple[Path, str], tuple[list[Side], list[Side]]] = defaultdict(lambda: ([], []))
    for match, file in sorted(named, key=lambda one: (int(one[0]["order"] or 0), one[1])):
        sides[file.parent, match["item"]][match["which"] not in RIGHT].append(Side(file))
    found = Found(same_beginning=True)
    for (folder, name), (right, wrong) in sides.items():
        group = folder.resolve().name
        found.match(_name(group, name), group, right, wrong)
    return found


def _name(*parts: str) -> str:
    """Return an id that is a valid file name."""
    return re.sub(r"[^\w.-]+", "_", "-".join(part for part in parts if part))
