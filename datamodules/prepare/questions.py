"""Manifests of spoken questions: LLaMA-Questions, and written questions with synthesised or given recordings."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import soundfile

from spectron.audio.io import AUDIO_SUFFIXES
from spectron.datamodules.manifest import repeated
from spectron.datamodules.prepare.manifests import Prepared, recorded, write_manifest
from spectron.datamodules.prepare.question_files import WrittenQuestion, read_llama_questions, read_questions
from spectron.datamodules.synthetic.corpus_plan import Utterance, draw_prosody
from spectron.datamodules.synthetic.parallel import in_processes, progress_bar
from spectron.datamodules.synthetic.voices import SAMPLE_RATE_HZ, UNSEEN_SPEAKERS, Voice, speak
from spectron.errors import DataError
from spectron.files import remove_abandoned, writing, written_whole
from spectron.randomness import seed_of


@dataclass
class Asked:
    """Question with its recording, or the reason why it has none, and its voice if known."""

    question: WrittenQuestion
    file: Path | None
    reason: str = ""
    voice: Voice | None = None


def prepare_llama_questions(folder: Path, output: Path) -> Prepared:
    """Write a manifest, with the split ``test``, of the published folder of LLaMA-Questions.

    Args:
        folder: Folder with one ``.tsv`` table; the recordings can be in any folder below it.
        output: The manifest to write.

    Raises:
        DataError: if there is not exactly one valid table, or no recording.
    """
    folder = Path(folder)
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) != 1:
        raise DataError(
            f"{folder} holds {len(tables)} tables (*.tsv) of questions, not one: name the folder of LLaMA-Questions"
        )
    questions = read_llama_questions(tables[0])
    found = {file.name: file for file in sorted(folder.rglob("*")) if file.suffix.lower() in AUDIO_SUFFIXES}
    return _manifest(
        [_recorded(question, found.get(question.recording), folder) for question in questions], Path(output), "test"
    )


def prepare_questions(
    file: Path,
    output: Path,
    split: str = "test",
    speech: Path | None = None,
    limit: int | None = None,
    workers: int | None = None,
) -> Prepared:
    """Write a manifest of written questions (WebQuestions, TriviaQA), spoken by espeak-ng or recorded.

    Synthesised speech is in a folder next to the manifest. The name of a recording contains a hash of everything that
    determines its samples, so that an interrupted run continues and only changed texts are spoken again.

    Args:
        file: The questions.
        output: The manifest to write.
        split: Split of the questions. If the file contains splits, only this split is read.
        speech: Folder of recordings ``<id>.wav``, or in another audio format, instead of synthesised speech.
        limit: Number of questions from the first one on; None reads all.
        workers: Number of processes; 0 speaks in this process. By default one per CPU core.

    Raises:
        DataError: if the file cannot be read, or ``speech`` contains none of its questions.
    """
    if limit is not None and limit < 1:
        raise DataError(f"--limit must be at least 1, got {limit}")
    output = Path(output)
    questions = read_questions(Path(file), split)[:limit]
    if twice := repeated(question.id for question in questions):
        raise DataError(f"{file} uses the id {twice[0]!r} more than once ({len(twice)} ids in all): make ids unique")
    if speech is not None:
        # In reverse order of the suffixes: the first suffix, uncompressed audio, replaces the others.
        files = sorted(file for file in Path(speech).glob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
        found = {
            file.stem: file
            for file in sorted(files, key=lambda file: AUDIO_SUFFIXES.index(file.suffix.lower()), reverse=True)
        }
        return _manifest(
            [_recorded(question, found.get(question.id), Path(speech)) for question in questions], output, split
        )
    return _manifest(_spoken(questions, output.parent / f"{output.stem}_audio", workers), output, split)


def _recorded(question: WrittenQuestion, file: Path | None, folder: Path) -> Asked:
    """Return a question with its recording, or with the name of the missing file as reason."""
    wanted = question.recording or f"{question.id}.wav, .flac, ..."
    return Asked(question, file, "" if file else f"no recording {wanted} in {folder}")


def _spoken(questions: list[WrittenQuestion], folder: Path, workers: int | None) -> list[Asked]:
    """Speak the questions that have no recording yet, and return all questions."""
    planned = [_utterance(question) for question in questions]
    files = [folder / f"{utterance.id}.flac" for utterance in planned]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    missing = [utterance for utterance, file in zip(planned, files, strict=True) if not file.is_file()]
    with progress_bar(f"speaking questions into {folder}") as show:
        failures = dict(filter(None, in_processes(partial(_speak, folder), missing, show, workers)))
    return [
        Asked(question, None if utterance.id in failures else file, failures.get(utterance.id, ""), utterance.voice)
        for question, utterance, file in zip(questions, planned, files, strict=True)
    ]


def _utterance(question: WrittenQuestion) -> Utterance:
    """Return the utterance of a question: the id determines its voice and prosody, and its name contains their hash."""
    voice = UNSEEN_SPEAKERS[seed_of("voice", question.id) % len(UNSEEN_SPEAKERS)]
    prosody = draw_prosody(random.Random(seed_of("prosody", question.id)), voice)
    made_by = seed_of(question.text, voice, prosody, version("espeakng-loader"))
    return Utterance(f"{question.id}-{made_by:016x}", question.text, voice, prosody)


def _speak(folder: Path, utterance: Utterance) -> tuple[str, str] | None:
    """Speak an utterance into its file; return its name and the reason if that fails, otherwise None."""
    try:
        speech = speak(utterance.text, utterance.voice, utterance.prosody)
    except DataError as error:
        return utterance.id, str(error)
    file = folder / f"{utterance.id}.flac"
    with written_whole(file, soundfile.LibsndfileError) as part:  # the next run regards an existing file as complete
        soundfile.write(str(part), speech.waveform.numpy(), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return None


def _manifest(asked: list[Asked], output: Path, split: str) -> Prepared:
    """Write the manifest of the questions with a recording; the others are reported as skipped."""
    entries: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for one in asked:
        question, voice = one.question, one.voice
        if one.file is None:
            skipped[question.id] = one.reason
            continue
        speaker = {"speaker": voice.name if voice else None, "gender": voice.gender if voice else None}
        entry = {"id": question.id, "text": question.text, "answers": question.answers, **speaker, "split": split}
        try:
            entries.append(entry | recorded(one.file, output))
        except DataError as error:
            skipped[question.id] = error.message
    if not entries:
        raise DataError(
            f"none of the {len(asked)} questions has a recording, the first because: {next(iter(skipped.values()))}"
        )
    return write_manifest(output, entries, skipped)
