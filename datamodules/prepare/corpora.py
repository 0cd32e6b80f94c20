"""Manifests of training corpora: the synthetic world, and folders of audio and text files."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spectron.audio.io import AUDIO_SUFFIXES
from spectron.datamodules.prepare.manifests import Prepared, recorded, summary, write_manifest
from spectron.datamodules.synthetic.corpus import write_corpus
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings
from spectron.datamodules.synthetic.parallel import Progress
from spectron.errors import DataError
from spectron.randomness import seed_of
from spectron.text_files import read_text


def prepare_synthetic(
    folder: Path,
    settings: CorpusSettings | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Prepared:
    """Write the synthetic corpus into a folder, unless it already contains the same corpus.

    Args:
        folder: The folder.
        settings: Settings of the corpus.
        progress: Function that receives the number of finished utterances and of all.
        workers: Number of processes; 0 speaks in this process. By default one per CPU core.

    Raises:
        WorkerError: if a process ended before its work was done.
        DataError: if the folder contains anything else.
    """
    folder = Path(folder)
    write_corpus(folder, settings or CorpusSettings(), progress, workers)
    manifests = [folder / "carriers.jsonl", folder / "questions.jsonl"]
    return summary(manifests, {})


def prepare_folder(folder: Path, output: Path, dev_share: float = 0.1) -> Prepared:
    """Write a manifest of audio files with text files of the same name; word times are unknown.

    Args:
        folder: Folder that is searched recursively. The name of a file's folder is its speaker.
        output: The manifest to write.
        dev_share: Fraction of the utterances, at least one, in the split ``dev``; the others are in ``train``.

    Raises:
        DataError: if there is no audio file with a text file.
    """
    folder, output = Path(folder), Path(output)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    skipped = _unused(files, audio)
    entries: list[dict[str, Any]] = []
    with ThreadPoolExecutor(8) as pool:  # threads, because the disk is the bottleneck
        lines = pool.map(lambda file: _folder_entry(file, folder, output), audio)
        for file, line in zip(audio, lines, strict=True):
            if isinstance(line, str):
                skipped[str(file)] = line
            else:
                entries.append(line)
    if not entries:
        raise DataError(
            f"{folder} contains no audio file with a text file ({len(skipped)} without): add name.txt next to name.wav"
        )
    # A hash of the id decides, so that files that are added later move few others between the splits.
    entries.sort(key=lambda entry: seed_of("dev", entry["id"]))
    for index, entry in enumerate(entries):
        entry["split"] = "dev" if index < max(1, round(dev_share * len(entries))) else "train"
    return write_manifest(output, sorted(entries, key=lambda entry: entry["id"]), skipped)


def _unused(files: Iterable[Path], audio: Iterable[Path]) -> dict[str, str]:
    """Return the recordings that cannot be read and the texts without a recording, with the reason.

    A file counts as a recording by its suffix, or if it has a text file of the same name.
    """
    recorded = {path.with_suffix("") for path in audio}
    texts = {path.with_suffix(""): path for path in files if path.suffix.lower() == ".txt"}
    alone = {stem: path for stem, path in texts.items() if stem not in recorded}
    kept = {*texts.values(), *audio}
    reasons: dict[str, str] = {}
    for path in files:
        kind = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
        if path not in kept and (path.with_suffix("") in alone or kind in ("audio", "video")):
            reasons[str(path)] = "its format cannot be read: convert it to WAV or FLAC"
            alone.pop(path.with_suffix(""), None)
    return reasons | {str(path): "there is no audio file next to it" for path in alone.values()}


def _folder_entry(file: Path, folder: Path, output: Path) -> dict[str, Any] | str:
    """Return the manifest line of an audio file, or the reason why it has none."""
    text_file = file.with_suffix(".txt")
    if not text_file.is_file():
        return f"there is no text file {text_file.name} next to it"
    try:
        text = " ".join(read_text(text_file).split())
        if not text:
            return "its text file is empty"
        audio = recorded(file, output)
    except DataError as error:
        return error.message
    name = file.relative_to(folder).with_suffix("")
    speaker = name.parts[-2] if len(name.parts) > 1 else folder.resolve().name
    return {"id": "-".join(name.parts), "text": text, "speaker": speaker, "gender": None, **audio, "words": None}
