"""Manifests as lhotse cuts; every line and every audio file is checked before training."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, cast

import soundfile
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spectron.batch import Word
from spectron.errors import DataError, about_file

# The durations of a manifest can be rounded. A larger difference means another file or a truncated one.
DURATION_TOLERANCE_SECONDS = 0.1
BROKEN_SHOWN = 10  # files that an error lists before it counts the rest


class Header(NamedTuple):
    """Header of an audio file: number of frames and sample rate in Hz."""

    frames: int
    rate: int

    @property
    def seconds(self) -> float:
        """Return the duration in seconds."""
        return self.frames / self.rate


def normalised(text: str, lower_case: bool) -> str:
    """Return a transcript with single spaces, in lower case if ``lower_case``."""
    text = " ".join(text.split())
    return text.lower() if lower_case else text


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise missing(Path(path)) from error


def missing(path: Path) -> DataError:
    """Return the error for a missing data file."""
    # The absolute path: relative paths start at the current folder, which is often not the folder of the YAML.
    return DataError(
        f"there is no file {path.absolute()}: correct the path (relative paths start at the current folder, and "
        "`${here}` is the folder of the YAML), or set SPECTRON_DATA to the folder with your corpora",
        file=path,
    )


def read_manifest(path: str | Path, lower_case: bool = True) -> list[MonoCut]:
    """Read a manifest and the header of every audio file that it names.

    Args:
        path: JSONL file. A line has ``id``, ``audio_filepath`` (relative to the manifest's folder) and ``text`` (can be
            null). It can have ``duration``, ``speaker``, ``gender``, ``split`` and ``words``
            (``[[word, begin_s, end_s], ...]`` or null). A spoken question has ``answers``, and can have
            ``answer_text``, ``answer_audio_filepath`` and ``answer_words``.
        lower_case: Whether to convert transcripts to lower case.

    Returns:
        One cut per utterance. ``cut.supervisions[0]`` contains text, speaker and word alignment. ``cut.custom``
        contains the split, file and line number, and the answers of a question.

    Raises:
        DataError: if the manifest or an audio file is missing, a line is invalid, or an audio header is unreadable or
            differs from the manifest. The message names file and line.
    """
    path = Path(path)
    fields = {"id": (str,), "audio_filepath": (str,), "text": (str, NoneType)}
    with about_file(path):
        entries = [_checked(entry) for entry in read_entries(path, fields)]
        found = headers(path.parent, entries, ("", "answer_"))
        return [_cut(path.parent, entry, found, lower_case) for entry in entries]


def read_entries(path: Path, fields: dict[str, tuple[type, ...]]) -> list[dict[str, Any]]:
    """Return the lines of a JSONL manifest; the key ``where`` contains file and line number.

    Args:
        path: The manifest; every line has a unique ``id``.
        fields: Required fields and their types.

    Raises:
        DataError: if the manifest is missing or a line is invalid.
    """
    try:
        # Not splitlines(): JSON can contain other line separators unescaped.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise (
            missing(path) if isinstance(error, OSError) else DataError(f"{path} is not UTF-8 text: is it a manifest?")
        ) from error
    entries = [_entry(line, f"{path}:{number}", fields) for number, line in enumerate(lines, 1) if line.strip()]
    if twice := repeated(entry["id"] for entry in entries):
        raise DataError(f"{path} uses the id {twice[0]!r} more than once ({len(twice)} ids in all): make ids unique")
    return entries


def repeated(ids: Iterable[str]) -> list[str]:
    """Return the ids that occur more than once."""
    return [name for name, times in Counter(ids).items() if times > 1]


def _entry(line: str, where: str, fields: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """Return one line as a dictionary."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON ({error}): correct or remove the line") from error
    if not isinstance(entry, dict):
        raise DataError(
            f"{where} is no JSON object: write a line such as {{{', '.join(f'{name!r}: ...' for name in fields)}}}"
        )
    for name, kinds in fields.items():
        if name not in entry:
            raise DataError(f"{where} has no field {name!r}: add it to the line")
        if not isinstance(entry[name], kinds):
            raise DataError(
                f"{where} has {entry[name]!r} as {name!r}, which should be {'text' if str in kinds else 'a number'}"
            )
    return entry | {"where": where}


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the line of an utterance with checked word times and answers."""
    answers = entry.get("answers") or []
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"{entry['where']} has {answers!r} as 'answers', which should be a list of texts")
    for name in ("duration", "answer_duration"):
        if not isinstance(entry.get(name), int | float | NoneType):
            raise DataError(f"{entry['where']} has {entry[name]!r} as {name!r}, which should be a number of seconds")
    words = {name: _words(entry.get(name), entry["where"]) for name in ("words", "answer_words")}
    return entry | words | {"answers": answers}


def _words(words: Any, where: str) -> list[Word] | None:
    if words is None:
        return None
    try:
        return [Word(str(word), float(begin), float(end)) for word, begin, end in words]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where} has word times that are not [[word, begin, end], ...]: correct them or write null"
        ) from error


def headers(folder: Path, entries: list[dict[str, Any]], prefixes: Sequence[str]) -> dict[str, Header]:
    """Return the headers of all audio files; threads read them, because the disk is the bottleneck.

    Args:
        folder: Folder of relative paths.
        entries: Lines of the manifest.
        prefixes: Prefixes of the fields ``audio_filepath`` and ``duration``.

    Raises:
        DataError: if a file is missing or broken, or its duration differs from its line.
    """
    files = {
        entry[f"{whose}audio_filepath"]: (entry["where"], entry.get(f"{whose}duration"))
        for entry in entries
        for whose in prefixes
        if entry.get(f"{whose}audio_filepath")
    }
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(files, pool.map(lambda name: _header(folder / name, *files[name]), files), strict=True))
    broken = [header for header in found.values() if isinstance(header, DataError)]
    if broken:
        others = "".join(f"\n  {error}" for error in broken[1:BROKEN_SHOWN])
        more = f"\n  and {len(broken) - BROKEN_SHOWN} more" if len(broken) > BROKEN_SHOWN else ""
        raise DataError(f"{broken[0]}{others and f'; likewise{others}{more}'}")
    return cast(dict[str, Header], found)


def _header(file: Path, where: str, stated_seconds: float | None) -> Header | DataError:
    """Return a file's header after a check, or its error: all errors are reported together."""
    if not file.is_file():
        return DataError(f"{where} names the audio file {file}, which is missing: restore it or remove the line")
    try:
        info = soundfile.info(str(file))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        return DataError(f"{where} names {file}, which is no readable audio ({error}): replace it or remove the line")
    seconds = info.frames / info.samplerate
    if info.frames == 0:
        return DataError(f"{where} names {file}, which contains no samples: replace it or remove the line")
    if stated_seconds is not None and abs(seconds - stated_seconds) > DURATION_TOLERANCE_SECONDS:
        return DataError(
            f"{where} states {stated_seconds} s for {file}, but the file has {seconds:.2f} s: "
            "replace it or correct the line"
        )
    return Header(info.frames, info.samplerate)


def _recording(name: str, file: Path, header: Header) -> Recording:
    source = AudioSource("file", [0], str(file))
    return Recording(name, [source], header.rate, header.frames, header.frames / header.rate)


def _cut(folder: Path, entry: dict[str, Any], headers: dict[str, Header], lower_case: bool) -> MonoCut:
    """Return the cut of one manifest line."""
    name, text, words = entry["id"], entry["text"], _normalised_words(entry["words"], lower_case)
    recording = _recording(name, folder / entry["audio_filepath"], headers[entry["audio_filepath"]])
    # AlignmentItem takes a duration, not an end.
    items = None if words is None else [AlignmentItem(word.text, word.begin, word.end - word.begin) for word in words]
    supervision = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=recording.duration,
        text=None if text is None else normalised(text, lower_case),
        speaker=str(entry.get("speaker") or ""),
        gender=entry.get("gender"),
        alignment=None if items is None else {"word": items},
    )
    custom: dict[str, Any] = {"split": entry.get("split"), "where": entry["where"], "answers": entry["answers"]}
    if entry.get("answer_text") is not None:
        custom["answer_text"] = normalised(entry["answer_text"], lower_case)
    answer_file = entry.get("answer_audio_filepath")
    if answer_file:
        custom["answer_recording"] = _recording(f"{name}-answer", folder / answer_file, headers[answer_file])
        custom["answer_words"] = _normalised_words(entry["answer_words"], lower_case) or []
    return MonoCut(name, 0.0, recording.duration, 0, supervisions=[supervision], recording=recording, custom=custom)


def _normalised_words(words: list[Word] | None, lower_case: bool) -> list[Word] | None:
    return None if words is None else [word._replace(text=normalised(word.text, lower_case)) for word in words]


def words_of(cut: MonoCut) -> list[Word] | None:
    """Return a cut's words with their times; None if the manifest has none."""
    alignment = cut.supervisions[0].alignment
    return None if alignment is None else [Word(item.symbol, item.start, item.end) for item in alignment["word"]]


def choose(
    cuts: Iterable[MonoCut], split: str | None, refuse: Callable[[MonoCut], str | None], manifest: str
) -> tuple[list[MonoCut], Counter[str]]:
    """Return the usable utterances of a split, and the number of unusable ones by reason.

    Raises:
        DataError: if none is usable; the message contains the counts.
    """
    everything = list(cuts)
    members = [cut for cut in everything if cut.custom["split"] == split]
    reasons = [refuse(cut) for cut in members]
    dropped = Counter(reason for reason in reasons if reason)
    kept = [cut for cut, reason in zip(members, reasons, strict=True) if not reason]
    if not kept:
        splits = Counter(str(cut.custom["split"]) for cut in everything)
        found = ", ".join(f"{name} {count}" for name, count in sorted(splits.items())) or "nothing at all"
        why = "; ".join(f"{count} {reason}" for reason, count in dropped.items()) or "none of its lines has this split"
        raise DataError(
            f"no utterance of split {split!r} in {manifest} is usable ({why}). It contains: {found}. "
            "Change the split or the limits"
        )
    return kept, dropped
