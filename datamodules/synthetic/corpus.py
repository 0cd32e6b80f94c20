"""Files of the synthetic corpus: audio, manifests and texts, byte-identical for equal settings.

- ``carriers.jsonl``: splits ``train``, ``dev``, ``judge_train``, ``judge_dev``
- ``questions.jsonl``: splits ``train``, ``unseen_speakers``, ``unseen_wordings``, ``unseen_facts`` and, if requested,
  ``other_voices`` and ``other_voices_facts``; each line has its spoken answer
- ``text/train.txt``, ``dev.txt`` for the language model; ``judge_train.txt``, ``judge_dev.txt`` for a judge
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
from spectron.files import writing
from spectron.text_files import read_json

MANIFESTS = ("carriers.jsonl", "questions.jsonl")
TEXTS = tuple(f"text/{name}.txt" for name in ("train", "dev", "judge_train", "judge_dev"))


def write_corpus(
    folder: Path, settings: CorpusSettings, progress: Progress | None = None, workers: int | None = None
) -> None:
    """Write the corpus, unless the folder contains a finished corpus with the same settings.

    The corpus is written to a temporary folder and renamed at the end, so that an existing folder is always complete.

    Args:
        folder: Folder of the corpus; its parents are made.
        settings: Settings of the corpus.
        progress: Function that receives the number of finished utterances and of all.
        workers: Number of processes; 0 speaks in this process. By default one per CPU core.

    Raises:
        DataError: if the folder contains a corpus with other settings, or anything else.
        WriteError: if the corpus cannot be written; nothing of it stays.
    """
    folder = Path(folder)
    plan = plan_corpus(settings)
    if folder.exists():
        _check_same(folder, settings, plan)
        return
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with writing(folder):
            _fill(aside, settings, plan, progress, workers)
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            _check_same(folder, settings, plan)  # another process has finished the same corpus
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_same(folder: Path, settings: CorpusSettings, plan: Plan) -> None:
    """Check that a finished corpus equals the planned one.

    Raises:
        DataError: if it differs, or the folder contains no finished corpus.
    """
    cure = f"remove {folder} to write it again, or name another folder"
    try:
        stored = read_json(folder / "corpus.json")
        known, fingerprint = dict(stored["settings"]), stored["fingerprint"]
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder} exists and is no finished synthetic corpus (no readable corpus.json): {cure}", file=folder
        ) from error
    # A setting that is newer than the corpus is covered by the fingerprint.
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
    """Return the manifest line of a question."""
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
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _speak_one(folder: Path, utterance: Utterance) -> dict:
    """Speak an utterance into its file, and return its manifest entry without the split."""
    speech = speak(utterance.text, utterance.voice, utterance.prosody)
    with writing(folder / utterance.file, soundfile.LibsndfileError) as file:
        soundfile.write(str(file), speech.waveform.numpy(), SAMPLE_RATE_HZ, subtype="PCM_16")
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
    """Synthetic corpus that a data module writes before its first use.

    Args:
        folder: Folder of the corpus.
        settings: Settings of the corpus.
    """

    folder: str
    settings: CorpusSettings = field(default_factory=CorpusSettings)

    def writes(self, file: Path) -> bool:
        """Return whether a file is a manifest or a text of the corpus."""
        return file.absolute() in [(Path(self.folder) / name).absolute() for name in (*MANIFESTS, *TEXTS)]

    def ensure(self) -> None:
        """Write the corpus with a progress bar, unless it exists already."""
        with progress_bar(f"speaking the synthetic corpus into {self.folder}") as show:
            write_corpus(Path(self.folder), self.settings, show)
