"""Manifests of what is trained on: the synthetic world, LibriSpeech's folders, a folder of audio with texts beside it."""

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
    """Write the synthetic corpus into a folder, or find the same one finished there.

    Raises:
        DataError: if the folder holds anything else.
    """
    folder = Path(folder)
    write_corpus(folder, settings or CorpusSettings(), progress)
    manifests = [folder / "carriers.jsonl", folder / "questions.jsonl"]
    return summary(manifests, {})


def prepare_librispeech(folder: Path, output: Path) -> Prepared:
    """Make a manifest of LibriSpeech's folders (lhotse's recipe); each part found is a split.

    Words get times where LibriSpeech-Alignments' ``*.alignment.txt`` files lie beside the transcripts.

    Args:
        folder: The ``LibriSpeech`` folder, or the one that holds it.
        output: The manifest to write.

    Raises:
        DataError: if no part of LibriSpeech is there.
    """
    from lhotse.recipes.librispeech import prepare_librispeech as recipe

    folder = Path(folder)
    folder = folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder
    try:
        parts = recipe(folder, num_jobs=os.cpu_count() or 1)
    except (AssertionError, ValueError) as error:  # what the recipe raises where there is no folder, or no part in it
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
    """The manifest line of a recording and a supervision of lhotse."""
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
        # The alignments name silence as an empty word.
        "words": words and [[item.symbol, item.start, item.end] for item in words if item.symbol.strip()],
    }


def prepare_folder(folder: Path, output: Path, dev_share: float = 0.1) -> Prepared:
    """Make a manifest of audio files with a text file of the same name beside each; word times are unknown.

    Args:
        folder: Looked through with all folders in it; the folder that a file lies in is its speaker.
        output: The manifest to write.
        dev_share: Share of utterances, at least one, that go to split ``dev``; the others are ``train``.

    Raises:
        DataError: if there is no audio with text at all.
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
            f"{folder} holds no audio file with a text file beside it ({len(skipped)} without): put name.txt beside name.wav"
        )
    # By a hash of the name: adding files later moves hardly any between the splits.
    entries.sort(key=lambda entry: seed_of("dev", entry["id"]))
    for index, entry in enumerate(entries):
        entry["split"] = "dev" if index < max(1, round(dev_share * len(entries))) else "train"
    return write_manifest(output, sorted(entries, key=lambda entry: entry["id"]), skipped)


def _folder_entry(file: Path, folder: Path, output: Path) -> dict[str, Any] | str:
    """The manifest line of an audio file, or why it gets none."""
    text_file = file.with_suffix(".txt")
    try:
        text = " ".join(text_file.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return f"no text file {text_file.name} beside it"
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
