"""Manifests as lhotse cuts; every line and every audio file is checked before training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spectron.audio.io import AudioHeader, read_header
from spectron.batch import Word
from spectron.datamodules.schema import DURATION_TOLERANCE_SECONDS, UTTERANCE, read_entries, shown, words_beyond
from spectron.errors import DataError, about_file
from spectron.files import is_file
from spectron.text_files import BYTE_ORDER_MARK, missing_file

BROKEN_SHOWN = 10  # files that an error lists before it counts the rest


def normalised(text: str, lower_case: bool) -> str:
    """Return a transcript with single spaces, in lower case if ``lower_case``."""
    text = " ".join(text.replace(BYTE_ORDER_MARK, "").split())
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
        raise missing_file(Path(path)) from error


def read_manifest(path: str | Path, lower_case: bool = True) -> list[MonoCut]:
    """Read a manifest and the header of every audio file that it names.

    Args:
        path: JSONL file. A line has ``id``, ``audio_filepath`` (relative to the manifest's folder) and ``text`` (can be
            null). It can have ``duration``, ``speaker``, ``gender``, ``split`` and ``words``
            (``[[word, begin_s, end_s], ...]`` or null). A spoken question has ``answers``, and can have
            ``answer_text``, ``answer_audio_filepath`` and ``answer_words``. ``schema.py`` contains all fields.
        lower_case: Whether to convert transcripts to lower case.

    Returns:
        One cut per utterance. ``cut.supervisions[0]`` contains text, speaker and word alignment. ``cut.custom``
        contains the split, file and line number, and the answers of a question.

    Raises:
        DataError: if the manifest or an audio file is missing, a line is invalid, or an audio header is unreadable or
            differs from the manifest. The message names file and line.
    """
    path = Path(path)
    with about_file(path):
        entries = [_spoken(entry) for entry in read_entries(path, UTTERANCE)]
        found = read_headers(path.parent, entries, ("", "answer_"))
        return [_cut(path.parent, entry, found, lower_case) for entry in entries]


def repeated(ids: Iterable[str]) -> list[str]:
    """Return the ids that occur more than once."""
    return [name for name, times in Counter(ids).items() if times > 1]


def _spoken(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the line of an utterance with its words as ``Word``.

    Raises:
        DataError: if a text has a list of words without any word: its halves would be empty.
    """
    words: dict[str, Any] = {}
    for name, text in (("words", entry["text"]), ("answer_words", entry.get("answer_text"))):
        times = entry.get(name)
        if times == [] and text and text.strip():
            raise DataError(
                f"{entry['where']} has [] as {name!r}, although it has the text {shown(text)}: write the times of its "
                "words, or null if they are unknown"
            )
        words[name] = None if times is None else [Word(word, float(begin), float(end)) for word, begin, end in times]
    return entry | words | {"answers": entry.get("answers") or []}


def read_headers(folder: Path, entries: list[dict[str, Any]], prefixes: Sequence[str]) -> dict[str, AudioHeader]:
    """Read the headers of all audio files and compare each with its line.

    Threads read them, because the disk is the bottleneck.

    Args:
        folder: Folder of relative paths.
        entries: Lines of the manifest.
        prefixes: Prefixes of the fields ``audio_filepath``, ``duration``, ``sample_rate`` and ``words``.

    Returns:
        The header by the path in the manifest.

    Raises:
        DataError: if a file is missing or broken, or differs from its line. All such lines are counted, and the first
            ones are named.
    """
    named = [
        (entry, whose, entry[f"{whose}audio_filepath"])
        for entry in entries
        for whose in prefixes
        if entry.get(f"{whose}audio_filepath") is not None
    ]
    files = list(dict.fromkeys(name for *_, name in named))
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(files, pool.map(lambda name: _header(folder / name), files), strict=True))
    problems = [(entry["where"], _difference(entry, whose, folder / name, found[name])) for entry, whose, name in named]
    broken = [f"{where} {problem}" for where, problem in problems if problem]
    if broken:
        others = "".join(f"\n  {line}" for line in broken[1:BROKEN_SHOWN])
        more = f"\n  and {len(broken) - BROKEN_SHOWN} more" if len(broken) > BROKEN_SHOWN else ""
        raise DataError(f"{broken[0]}{others and f'; likewise{others}{more}'}")
    return cast(dict[str, AudioHeader], found)


def _header(file: Path) -> AudioHeader | DataError:
    """Return the header of a file, or its error: all errors are reported together."""
    try:
        return read_header(file)
    except DataError as error:
        return error


def _difference(entry: dict[str, Any], whose: str, file: Path, header: AudioHeader | DataError) -> str | None:
    """Return what is wrong with a file, or how it differs from its line; None if nothing is wrong."""
    if isinstance(header, DataError):
        if not is_file(file):
            return f"names the audio file {file}, which is missing: restore it or remove the line"
        return f"names {file}, which is no readable audio ({header.message}): replace it or remove the line"
    duration, rate, words = (entry.get(f"{whose}{name}") for name in ("duration", "sample_rate", "words"))
    if duration is not None and abs(header.seconds - duration) > DURATION_TOLERANCE_SECONDS:
        return (
            f"states {duration} s for {file}, but the file has {header.seconds:.2f} s: replace it or correct the line"
        )
    if rate is not None and rate != header.rate:
        return (
            f"states {rate} Hz as '{whose}sample_rate' for {file}, but the file has {header.rate} Hz: replace it or "
            "correct the line"
        )
    beyond = words_beyond(words, header.seconds, header.rate)
    return beyond and f"has wrong '{whose}words' for {file}: it {beyond}"


def _recording(name: str, file: Path, header: AudioHeader) -> Recording:
    source = AudioSource("file", [0], str(file))
    return Recording(name, [source], header.rate, header.frames, header.seconds)


def _cut(folder: Path, entry: dict[str, Any], headers: dict[str, AudioHeader], lower_case: bool) -> MonoCut:
    """Return the cut of one manifest line."""
    name, text, words = entry["id"], entry["text"], _normalised_words(entry["words"], lower_case)
    recording = _recording(name, folder / entry["audio_filepath"], headers[entry["audio_filepath"]])
    # AlignmentItem takes a duration, not an end.
    items = None if words is None else [AlignmentItem(word.text, word.begin, word.end - word.begin) for word in words]
    speaker = entry.get("speaker")
    supervision = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=recording.duration,
        text=None if text is None else normalised(text, lower_case),
        speaker="" if speaker is None else str(speaker),
        gender=entry.get("gender"),
        alignment=None if items is None else {"word": items},
    )
    custom: dict[str, Any] = {"split": entry.get("split"), "where": entry["where"], "answers": entry["answers"]}
    if entry.get("answer_text") is not None:
        custom["answer_text"] = normalised(entry["answer_text"], lower_case)
    answer_file = entry.get("answer_audio_filepath")
    if answer_file is not None:
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
