"""Manifest of LibriSpeech, with the word times of LibriSpeech-Alignments if they are there."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from spectron.datamodules.prepare.manifests import Prepared, recorded, write_manifest
from spectron.datamodules.synthetic.parallel import progress_bar
from spectron.errors import DataError
from spectron.text_files import read_lines

Words = list[list[Any]]


class Transcript(NamedTuple):
    """Line of a transcript: id, text, part of the corpus, audio file, place, and words with their times if known."""

    id: str
    text: str
    part: str
    audio: Path
    where: str
    words: Words | None


def prepare_librispeech(folder: Path, output: Path) -> Prepared:
    """Write a manifest of LibriSpeech; each existing part is a split.

    Words have times if the ``*.alignment.txt`` files of LibriSpeech-Alignments are next to the transcripts.

    Args:
        folder: The ``LibriSpeech`` folder or its parent.
        output: The manifest to write.

    Raises:
        DataError: if the folder contains no part of LibriSpeech, or a transcript or alignment cannot be read.
    """
    from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH

    folder, output = Path(folder), Path(output)
    folder = folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder
    parts = sorted(part for part in {*LIBRISPEECH, *MINI_LIBRISPEECH} if (folder / part).is_dir())
    transcripts = [transcript for part in parts for transcript in _transcripts(folder / part)]
    if not transcripts:
        raise DataError(
            f"no part of LibriSpeech (dev-clean, train-clean-100, ...) at {folder}: name the LibriSpeech folder"
        )
    entries, skipped = [], {}
    # Threads, because the disk is the bottleneck.
    with ThreadPoolExecutor(8) as pool, progress_bar(f"reading {folder}") as show:
        lines = pool.map(lambda transcript: _entry(transcript, output), transcripts)
        for number, (transcript, line) in enumerate(zip(transcripts, lines, strict=True), 1):
            if isinstance(line, str):
                skipped[transcript.id] = line
            else:
                entries.append(line)
            show(number, len(transcripts))
    return write_manifest(output, entries, skipped)


def _transcripts(part: Path) -> Iterator[Transcript]:
    """Yield the lines of all transcripts of a part; empty lines are skipped."""
    for file in sorted(part.rglob("*.trans.txt")):
        alignment = file.with_name(file.name.replace(".trans.txt", ".alignment.txt"))
        words = _word_times(alignment) if alignment.is_file() else {}
        for number, line in enumerate(read_lines(file), 1):
            name, *text = line.split(maxsplit=1)[:2] or [""]
            if name:
                where = f"{file}:{number}"
                yield Transcript(
                    name, "".join(text).strip(), part.name, file.with_name(f"{name}.flac"), where, words.get(name)
                )


def _entry(transcript: Transcript, output: Path) -> dict[str, Any] | str:
    """Return the manifest line of a transcript, or the reason why it has none."""
    if not transcript.text:
        return f"{transcript.where} has no text"
    if not transcript.audio.is_file():
        return "has a transcript, but no audio file"
    try:
        audio = recorded(transcript.audio, output)
    except DataError as error:
        return error.message
    return {
        "id": transcript.id,
        "text": transcript.text,
        "speaker": transcript.id.partition("-")[0],
        "gender": None,
        **audio,
        "split": transcript.part,
        "words": transcript.words,
    }


def _word_times(file: Path) -> dict[str, Words]:
    """Return the words of each utterance with begin and end in seconds; silence, an empty word, is left out.

    A line is ``84-121-0000 ",GO,,DO," "0.3,0.6,0.9,1.2,2.0"``: each time is the end of a word.

    Raises:
        DataError: if a line has another form.
    """
    found: dict[str, Words] = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        try:
            name, words, times = line.replace('"', "").split()
            ends = [float(time) for time in times.split(",")]
            spans = list(zip(words.split(","), [0.0, *ends[:-1]], ends, strict=True))
        except ValueError as error:
            raise DataError(
                f'{file}:{number} should be an id, "words" and "end times", one time for each word: correct it',
                file=file,
            ) from error
        found[name] = [[word, begin, end] for word, begin, end in spans if word]
    return found
