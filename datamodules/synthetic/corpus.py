"""Writes the synthetic corpus: audio, manifests and texts, the same to the last byte for the same settings.

- ``carriers.jsonl``: splits ``train``, ``dev``, ``judge_train``, ``judge_dev``
- ``questions.jsonl``: splits ``train``, ``heldout_voices``, ``heldout_wordings``, ``heldout_facts``; each line has its spoken answer
- ``text/train.txt``, ``dev.txt`` for the language model; ``judge_train.txt``, ``judge_dev.txt`` for a judge's
- ``audio/``: 16 kHz FLAC
- ``corpus.json``: settings, counts and the fingerprint of the plan
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import soundfile
import torch

from datamodules.synthetic.voices import HELDOUT_VOICES, JUDGE_VOICES, SAMPLE_RATE_HZ, TRAINING_VOICES, Prosody, Voice, speak
from datamodules.synthetic.world import KINDS, Fact, carriers, facts, heldout_facts, mismatches
from spectron.errors import DataError

Progress = Callable[[int, int], None]


@dataclass
class CorpusSettings:
    """What the synthetic corpus holds.

    Args:
        voices: Training voices used, of the ten there are.
        carriers: Carrier sentences to train on, each by one training voice.
        dev_carriers: Other sentences by held-out voices; as many again by the judge's voices.
        judge_carriers: Sentences by voices of their own, to train a judge's recogniser; half are answers with a wrong fact in them.
        wordings_per_voice: Question wordings drawn for each trained fact and voice; 0 takes all.
        text_lines: Sentences for the language model.
        judge_text_lines: Sentences for the judge's language model.
        heldout_share: Share of facts that are never asked in training.
        text_mark: Stands between question and answer in the language model's text.
        seed: Draws everything.
    """

    voices: int = len(TRAINING_VOICES)
    carriers: int = 4000
    dev_carriers: int = 100
    judge_carriers: int = 3000
    wordings_per_voice: int = 0
    text_lines: int = 30000
    judge_text_lines: int = 30000
    heldout_share: float = 0.2
    text_mark: str = " | "
    seed: int = 17

    def __post_init__(self) -> None:
        if not 2 <= self.voices <= len(TRAINING_VOICES):
            raise ValueError(f"voices must be from 2 to {len(TRAINING_VOICES)}, got {self.voices}")
        if not 0 <= self.heldout_share < 1:
            raise ValueError(f"heldout_share must be from 0 to below 1, got {self.heldout_share}")

    @property
    def training_voices(self) -> tuple[Voice, ...]:
        """The voices that training hears."""
        return TRAINING_VOICES[: self.voices]


@dataclass(frozen=True)
class Utterance:
    """Something to speak."""

    id: str
    text: str
    voice: Voice
    prosody: Prosody

    @property
    def file(self) -> str:
        """Where its audio goes, relative to the corpus."""
        return f"audio/{self.id}.flac"


@dataclass(frozen=True)
class Question:
    """A spoken question with its spoken answer."""

    split: str
    asked: Utterance
    answered: Utterance
    gold: str


@dataclass
class Plan:
    """All that a corpus will hold, before anything is spoken."""

    carriers: list[tuple[str, Utterance]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def utterances(self) -> list[Utterance]:
        """Everything to speak, each once."""
        return [utterance for _, utterance in self.carriers] + [u for q in self.questions for u in (q.asked, q.answered)]

    def fingerprint(self) -> str:
        """SHA-256 of the whole plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def plan_corpus(settings: CorpusSettings) -> Plan:
    """Draw what a corpus holds; takes a second and speaks nothing."""
    plan = Plan()
    sentences = carriers(settings.seed)  # one stream, so that no two splits share a sentence
    rng = random.Random(f"{settings.seed} corpus")
    train, dev = list(islice(sentences, settings.carriers)), list(islice(sentences, settings.dev_carriers))
    judge_wrong = mismatches(settings.seed)[: settings.judge_carriers // 2]
    judge_train = [*islice(sentences, settings.judge_carriers - len(judge_wrong)), *judge_wrong]
    judge_dev = list(islice(sentences, settings.dev_carriers))
    for split, texts, voices in (
        ("train", train, settings.training_voices),
        ("dev", dev, HELDOUT_VOICES),
        ("judge_train", judge_train, JUDGE_VOICES),
        ("judge_dev", judge_dev, JUDGE_VOICES),
    ):
        for index, text in enumerate(texts):
            voice = voices[index % len(voices)]
            plan.carriers.append((split, Utterance(f"carrier-{split}-{index:05d}", text, voice, _prosody(rng, voice))))
    plan.questions = list(_questions(settings, rng))
    plan.texts = _texts(settings, train, dev)
    return plan


def _prosody(rng: random.Random, voice: Voice) -> Prosody:
    """A rate and a pitch for one utterance; pitch varies little, because it tells speakers apart."""
    centre = 50 if voice.gender == "M" else 55
    return Prosody(rng.randint(140, 200), rng.randint(centre - 10, centre + 10))


def _questions(settings: CorpusSettings, rng: random.Random) -> Iterable[Question]:
    """Training questions by all training voices, and a few for each way of being new."""
    heldout = heldout_facts(settings.heldout_share, settings.seed)
    voices = settings.training_voices
    for index, fact in enumerate(facts()):
        kind = KINDS[fact.kind]
        trained = list(kind.trained_wordings)
        asked = partial(_question, rng, index, fact)
        if fact in heldout:
            for voice in (*rng.sample(voices, 2), *rng.sample(HELDOUT_VOICES, 2)):
                yield asked("heldout_facts", voice, rng.choice(trained))
            continue
        for voice in voices:
            for wording in rng.sample(trained, settings.wordings_per_voice or len(trained)):
                yield asked("train", voice, wording)
        for voice in HELDOUT_VOICES:
            yield asked("heldout_voices", voice, rng.choice(trained))
        for voice in (rng.choice(voices), rng.choice(HELDOUT_VOICES)):
            yield asked("heldout_wordings", voice, kind.heldout_wording)


def _question(rng: random.Random, index: int, fact: Fact, split: str, voice: Voice, wording: int) -> Question:
    """One question; the voice keeps its rate and pitch for the answer."""
    prosody = _prosody(rng, voice)
    name = f"{split}-{index:03d}-{wording}-{voice.name}"
    asked = Utterance(f"question-{name}", fact.question(wording), voice, prosody)
    return Question(split, asked, Utterance(f"answer-{name}", fact.answer, voice, prosody), fact.gold)


def _texts(settings: CorpusSettings, train: list[str], dev: list[str]) -> dict[str, list[str]]:
    """Text of the language model and of a judge's, each drawn by itself.

    The model's has all facts, the held-out ones too: it may know from text what it never heard.
    """
    rng = random.Random(f"{settings.seed} text")
    spoken = train or list(islice(carriers(f"{settings.seed} text"), 1000))
    model = [_marked(rng, settings.text_mark, spoken) for _ in range(settings.text_lines)]
    judge = [_judged(rng, sentence) for sentence in islice(carriers(f"{settings.seed} judge"), settings.judge_text_lines)]
    model_dev = [_marked(rng, settings.text_mark, dev or spoken) for _ in range(200)]
    return {"train": model, "dev": model_dev, "judge_train": judge[200:], "judge_dev": judge[:200]}


def _marked(rng: random.Random, mark: str, sentences: list[str]) -> str:
    """A question with its answer, or a carrier cut anywhere: what a model hears, the mark, what it says."""
    if rng.random() < 0.5:
        fact = rng.choice(facts())
        return fact.question(rng.choice(KINDS[fact.kind].trained_wordings)) + mark + fact.answer
    words = rng.choice(sentences).split()
    cut = rng.randrange(1, len(words))
    return " ".join(words[:cut]) + mark + " ".join(words[cut:])


def _judged(rng: random.Random, sentence: str) -> str:
    """A sentence for the judge: a carrier, an answer, or a question."""
    fact = rng.choice(facts())
    return rng.choice((sentence, sentence, fact.answer, fact.question(rng.choice(KINDS[fact.kind].trained_wordings))))


def write_corpus(folder: Path, settings: CorpusSettings, progress: Progress | None = None, workers: int | None = None) -> None:
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
        raise DataError(f"{folder} exists and is no finished synthetic corpus (no readable corpus.json): {cure}") from error
    different = [f"{key}: {known.get(key)} there, {value} asked for" for key, value in asdict(settings).items() if known.get(key) != value]
    if different:
        raise DataError(f"{folder} holds a synthetic corpus with other settings ({'; '.join(different)}): {cure}")
    if fingerprint != plan.fingerprint():
        raise DataError(f"{folder} holds a synthetic corpus of another version of the world or its voices: {cure}")


def _fill(folder: Path, settings: CorpusSettings, plan: Plan, progress: Progress | None, workers: int | None) -> None:
    """Speak everything and write all files of a corpus."""
    (folder / "audio").mkdir()
    (folder / "text").mkdir()
    spoken: dict[str, dict] = {}
    utterances = plan.utterances
    for utterance, entry in zip(utterances, _speak_all(folder, utterances, workers), strict=True):
        spoken[utterance.id] = entry
        if progress:
            progress(len(spoken), len(utterances))
    _write_lines(folder / "carriers.jsonl", [json.dumps(spoken[u.id] | {"split": split}) for split, u in plan.carriers])
    _write_lines(folder / "questions.jsonl", [json.dumps(_question_entry(question, spoken)) for question in plan.questions])
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
    }


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _speak_all(folder: Path, utterances: list[Utterance], workers: int | None) -> Iterable[dict]:
    """Manifest entries in the order of the utterances."""
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers == 0:
        yield from map(partial(_speak_one, folder), utterances)
        return
    # Processes, because the synthesizer is not thread-safe; spawned, because a fork of a process with torch's threads may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(partial(_speak_one, folder), utterances, chunksize=16)


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

    def ensure(self) -> None:
        """Write it, with a progress bar, unless the same is there already."""
        from tqdm.auto import tqdm

        with tqdm(desc=f"speaking the synthetic corpus into {self.folder}", unit=" utterances", mininterval=1.0, delay=1.0) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            write_corpus(Path(self.folder), self.settings, show)
