"""Manifests of training corpora: the synthetic world, LibriSpeech, and folders of audio and text files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from spectron.audio.io import AUDIO_SUFFIXES
from spectron.datamodules.prepare.manifests import Prepared, recorded, relative, summary, write_manifest
from spectron.datamodules.synthetic.corpus import write_corpus
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings
from spectron.datamodules.synthetic.parallel import Progress
from spectron.errors import DataError
from spectron.randomness import seed_of


def prepare_synthetic(
    folder: Path, settings: CorpusSettings | None = None, progress: Progress | None = None
) -> Prepared:
    """Write the synthetic corpus into a folder, unless it already contains the same corpus.

    Raises:
        DataError: if the folder contains anything else.
    """
    folder = Path(folder)
    write_corpus(folder, settings or CorpusSettings(), progress)
    manifests = [folder / "carriers.jsonl", folder / "questions.jsonl"]
    return summary(manifests, {})


def prepare_librispeech(folder: Path, output: Path) -> Prepared:
    """Write a manifest of LibriSpeech by lhotse's recipe; each existing part is a split.

    Words have times if the ``*.alignment.txt`` files of LibriSpeech-Alignments are next to the transcripts.

    Args:
        folder: The ``LibriSpeech`` folder or its parent.
        output: The manifest to write.

    Raises:
        DataError: if the folder contains no part of LibriSpeech.
    """
    from lhotse.recipes.librispeech import prepare_librispeech as recipe

    folder = Path(folder)
    folder = folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder
    try:
        parts = recipe(folder, num_jobs=os.cpu_count() or 1)
    except (AssertionError, ValueError) as error:  # errors of the recipe if there is no folder or no part
        raise DataError(
            f"no part of LibriSpeech (dev-clean, train-clean-100, ...) at {folder}: name the LibriSpeech folder"
        ) from error
    entries = [
        _librispeech_entry(part, recording, supervision, Path(output))
        for part, manifests in sorted(parts.items())
        for recording, supervision in zip(manifests["recordings"], manifests["supervisions"], strict=True)
    ]
    found = {entry["id"] for entry in entries}
    listed = (
        line.split(maxsplit=1)[0]
        for part in parts
        for file in (folder / part).rglob("*.trans.txt")
        for line in file.read_text().splitlines()
    )
    skipped = {name: "has a transcript, but no audio file" for name in listed if name not in found}
    return write_manifest(Path(output), entries, skipped)


def _librispeech_entry(part: str, recording: Any, supervision: Any, output: Path) -> dict[str, Any]:
    """Return the manifest line of a recording and a supervision of lhotse."""
    words = (supervision.alignment or {}).get("word")
    return {
        "id": recording.id,
        "audio_filepath": relative(Path(recording.sources[0].source), output),
        "text": supervision.text,
        "speaker": supervision.speaker,
        "gender": supervision.gender,
        "duration": recording.duration,
        "sample_rate": recording.sampling_rate,
        "split": part,
        # The alignments contain silence as an empty word.
        "words": words and [[item.symbol, item.start, item.end] for item in words if item.symbol.strip()],
    }


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
    entries: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        entry = _folder_entry(file, folder, output)
        if isinstance(entry, str):
            skipped[str(file)] = entry
        else:
            entries.append(entry)
    if not entries:
        raise DataError(
            f"{folder} contains no audio file with a text file ({len(skipped)} without): add name.txt next to name.wav"
        )
    # A hash of the id decides, so that files that are added later move few others between the splits.
    entries.sort(key=lambda entry: seed_of("dev", entry["id"]))
    for index, entry in enumerate(entries):
        entry["split"] = "dev" if index < max(1, round(dev_share * len(entries))) else "train"
    return write_manifest(output, sorted(entries, key=lambda entry: entry["id"]), skipped)


def _folder_entry(file: Path, folder: Path, output: Path) -> dict[str, Any] | str:
    """Return the manifest line of an audio file, or the reason why it has none."""
    text_file = file.with_suffix(".txt")
    try:
        text = " ".join(text_file.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return f"there is no text file {text_file.name} next to it"
    except (OSError, UnicodeDecodeError) as error:
        return f"unreadable: {error}"
    if not text:
        return "its text file is empty"
    try:
        audio = recorded(file, output)
    except DataError as error:
        return str(error)
    name = file.relative_to(folder).with_suffix("")
    speaker = name.parts[-2] if len(name.parts) > 1 else folder.resolve().name
    return {"id": "-".join(name.parts), "text": text, "speaker": speaker, "gender": None, **audio, "words": None}
