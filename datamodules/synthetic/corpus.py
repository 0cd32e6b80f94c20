"""Writes the synthetic corpus: audio, manifests and texts, the same to the last byte for the same settings.

- ``carriers.jsonl``: splits ``train``, ``dev``, ``judge_train``, ``judge_dev``
- ``questions.jsonl``: splits ``train``, ``unseen_speakers``, ``unseen_wordings``, ``unseen_facts``, where asked for
  ``other_voices`` and ``other_voices_facts``; each line has its spoken answer
- ``text/train.txt``, ``dev.txt`` for the language model; ``judge_train.txt``, ``judge_dev.txt`` for a judge's
- ``audio/``: 16 kHz FLAC
- ``corpus.json``: settings, counts and the fingerprint of the plan
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import soundfile

from spectron.datamodules.synthetic.corpus_plan import CorpusSettings, Plan, Question, Utterance, plan_corpus
from spectron.datamodules.synthetic.parallel import Progress, in_processes, progress_bar
from spectron.datamodules.synthetic.voices import SAMPLE_RATE_HZ, speak
from spectron.errors import DataError

MANIFESTS = ("carriers.jsonl", "questions.jsonl")
TEXTS = tuple(f"text/{name}.txt" for name in ("train", "dev", "judge_train", "judge_dev"))


def write_corpus(
    folder: Path, settings: CorpusSettings, progress: Progress | None = None, workers: int | None = None
) -> None:
    """Write the corpus, or leave a finished one with the same settings as it is.

    It is written aside and renamed when complete, so that a folder that exists is whole.

    Args:
        folder: Where it goes; its parents are made.
        settings: What it holds.
        progress: Called with utterances done and in all.
        workers: Processes that speak; 0 speaks in this one. By default one a CPU core.

    Raises:
        DataError: if the folder holds a corpus with other settings, or something else.
    """
    folder = Path(folder)
    plan = plan_corpus(settings)
    if folder.exists():
        _check_same(folder, settings, plan)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _fill(aside, settings, plan, progress, workers)
        aside.chmod(0o755)
        if folder.exists():  # someone else finished the same corpus meanwhile
            _check_same(folder, settings, plan)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_same(folder: Path, settings: CorpusSettings, plan: Plan) -> None:
    """A finished corpus must be the one that would be written."""
    cure = f"remove {folder} to write it anew, or name another folder"
    try:
        stored = json.loads((folder / "corpus.json").read_text())
        known, fingerprint = stored["settings"], stored["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder} exists and is no finished synthetic corpus (no readable corpus.json): {cure}", file=folder
        ) from error
    # A setting that is younger than the corpus is seen in the fingerprint.
    asked = {key: value for key, value in asdict(settings).items() if known.get(key, value) != value}
    different = [f"{key}: {known[key]} there, {value} asked for" for key, value in asked.items()]
    if different:
        raise DataError(
            f"{folder} holds a synthetic corpus with other settings ({'; '.join(different)}): {cure}", file=folder
        )
    if fingerprint != plan.fingerprint():
        raise DataError(
            f"{folder} holds a synthetic corpus of another version of the world or its voices: {cure}", file=folder
        )


def _fill(folder: Path, settings: CorpusSettings, plan: Plan, progress: Progress | None, workers: int | None) -> None:
    """Speak everything and write all files of a corpus."""
    (folder / "audio").mkdir()
    (folder / "text").mkdir()
    spoken = {
        entry["id"]: entry for entry in in_processes(partial(_speak_one, folder), plan.utterances, progress, workers)
    }
    _write_lines(folder / "carriers.jsonl", [json.dumps(spoken[u.id] | {"split": split}) for split, u in plan.carriers])
    _write_lines(
        folder / "questions.jsonl", [json.dumps(_question_entry(question, spoken)) for question in plan.questions]
    )
    for name, lines in plan.texts.items():
        _write_lines(folder / "text" / f"{name}.txt", lines)
    seconds = sum(entry["duration"] for entry in spoken.values())
    counts = {"carriers": len(plan.carriers), "questions": len(plan.questions), "hours": round(seconds / 3600, 2)}
    (folder / "corpus.json").write_text(
        json.dumps({"settings": asdict(settings), "fingerprint": plan.fingerprint(), "counts": counts}, indent=2) + "\n"
    )


def _question_entry(question: Question, spoken: dict[str, dict]) -> dict:
    """The manifest line of a question."""
    answer = spoken[question.answered.id]
    return spoken[question.asked.id] | {
        "split": question.split,
        "answers": [question.gold],
        "answer_text": answer["text"],
        "answer_audio_filepath": answer["audio_filepath"],
        "answer_duration": answer["duration"],
        "answer_words": answer["words"],
    }


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _speak_one(folder: Path, utterance: Utterance) -> dict:
    """Speak an utterance into its file; its manifest entry, less the split."""
    speech = speak(utterance.text, utterance.voice, utterance.prosody)
    soundfile.write(str(folder / utterance.file), speech.waveform.numpy(), SAMPLE_RATE_HZ, subtype="PCM_16")
    return {
        "id": utterance.id,
        "audio_filepath": utterance.file,
        "text": utterance.text,
        "speaker": utterance.voice.name,
        "gender": utterance.voice.gender,
        "duration": len(speech.waveform) / SAMPLE_RATE_HZ,
        "sample_rate": SAMPLE_RATE_HZ,
        "words": speech.words,
    }


@dataclass
class SyntheticCorpus:
    """A synthetic corpus that a data module writes before its first use.

    Args:
        folder: Where it is.
        settings: What it holds.
    """

    folder: str
    settings: CorpusSettings = field(default_factory=CorpusSettings)

    def writes(self, file: Path) -> bool:
        """Whether a file is one of the manifests and texts that the corpus holds when it is written."""
        return file.absolute() in [(Path(self.folder) / name).absolute() for name in (*MANIFESTS, *TEXTS)]

    def ensure(self) -> None:
        """Write it, with a progress bar, unless the same is there already."""
        with progress_bar(f"speaking the synthetic corpus into {self.folder}") as show:
            write_corpus(Path(self.folder), self.settings, show)
