"""Plan of a synthetic corpus: texts, voices and splits, drawn from the seed before anything is spoken."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice
from typing import Annotated

from spectron.datamodules.synthetic.voices import (
    JUDGE_VOICES,
    TRAINING_VOICES,
    UNSEEN_SPEAKERS,
    Prosody,
    Voice,
    voice_called,
)
from spectron.datamodules.synthetic.world import (
    KINDS,
    Fact,
    carriers,
    facts,
    mismatches,
    negated_carriers,
    unseen_facts,
    word_lists,
)
from spectron.errors import ConfigError
from spectron.ranges import BelowOne, Range, Seed, checks_ranges

SPLITS = (
    *(f"carriers/{split}" for split in ("train", "dev", "judge_train", "judge_dev")),
    *(
        f"questions/{split}"
        for split in (
            "train",
            "unseen_speakers",
            "unseen_wordings",
            "unseen_facts",
            "other_voices",
            "other_voices_facts",
        )
    ),
)
Items = Annotated[int, Range(0, 10_000_000)]


@checks_ranges
@dataclass
class CorpusSettings:
    """Settings of the synthetic corpus.

    Args:
        voices: Number of training voices, at most twenty.
        carriers: Number of training carriers, each spoken by one training voice.
        dev_carriers: Number of other carriers by unseen speakers, and as many by the judge's voices.
        judge_carriers: Number of carriers by separate voices, to train the recogniser of a judge. At most half of them
            are answers with a wrong fact.
        negated_carriers: Number of additional training carriers with wrong answers that are denied or reported. There
            are 2,752 texts; for a larger number they are repeated by other voices.
        word_lists: Number of additional training carriers of six words without order, half of them answers.
        other_voices: Additional voices that ask all facts, by espeak names such as ``en-us+travis``. The split
            ``other_voices`` has the trained facts in their first wording, and ``other_voices_facts`` has the unseen
            facts in all trained wordings.
        wordings_per_voice: Number of question wordings for each trained fact and voice; 0 uses all.
        text_lines: Number of sentences for the language model.
        judge_text_lines: Number of sentences for the judge's language model.
        unseen_share: Fraction of facts that are not asked in training.
        text_separator: Text between question and answer in the language model's sentences.
        seed: Seed of all random choices.
        only: Splits to speak, such as ``carriers/train`` or ``questions/unseen_facts``; None speaks all. The content of
            a split does not depend on it.
    """

    voices: Annotated[int, Range(2, len(TRAINING_VOICES))] = len(TRAINING_VOICES)
    carriers: Items = 12000
    dev_carriers: Items = 200
    judge_carriers: Items = 8000
    negated_carriers: Items = 0
    word_lists: Items = 0
    other_voices: list[str] = field(default_factory=list)
    wordings_per_voice: Items = 0
    text_lines: Items = 30000
    judge_text_lines: Items = 30000
    unseen_share: BelowOne = 0.2
    text_separator: str = " | "
    seed: Seed = 17
    only: list[str] | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.only or ()) - set(SPLITS)):
            raise ConfigError(f"there is no split {', '.join(unknown)}. Valid names: {', '.join(SPLITS)}", key="only")
        known = {voice.name for voice in (*TRAINING_VOICES, *UNSEEN_SPEAKERS, *JUDGE_VOICES)}
        if taken := known & {name.replace("+", "-").lower() for name in self.other_voices}:
            raise ConfigError(
                f"{', '.join(sorted(taken))} is no other voice: the world has it already", key="other_voices"
            )

    @property
    def training_voices(self) -> tuple[Voice, ...]:
        """Return the voices of the training splits."""
        return TRAINING_VOICES[: self.voices]


@dataclass(frozen=True)
class Utterance:
    """Text with voice and prosody."""

    id: str
    text: str
    voice: Voice
    prosody: Prosody

    @property
    def file(self) -> str:
        """Return the path of the audio file, relative to the corpus."""
        return f"audio/{self.id}.flac"


@dataclass(frozen=True)
class Question:
    """Spoken question and its spoken answer."""

    split: str
    asked: Utterance
    answered: Utterance
    gold: str


@dataclass
class Plan:
    """Carriers, questions and texts of a corpus before synthesis."""

    carriers: list[tuple[str, Utterance]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def utterances(self) -> list[Utterance]:
        """Return all utterances to speak."""
        return [utterance for _, utterance in self.carriers] + [
            u for q in self.questions for u in (q.asked, q.answered)
        ]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the whole plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def plan_corpus(settings: CorpusSettings) -> Plan:
    """Draw the plan of a corpus in about a second, without synthesis."""
    plan = Plan()
    sentences = carriers(settings.seed)  # a common stream, so that splits share no sentence
    rng = random.Random(f"{settings.seed} corpus")
    train, dev = list(islice(sentences, settings.carriers)), list(islice(sentences, settings.dev_carriers))
    judge_wrong = mismatches(settings.seed)[: settings.judge_carriers // 2]
    judge_train = [*islice(sentences, settings.judge_carriers - len(judge_wrong)), *judge_wrong]
    judge_dev = list(islice(sentences, settings.dev_carriers))
    for split, texts, voices in (
        ("train", train, settings.training_voices),
        ("dev", dev, UNSEEN_SPEAKERS),
        ("judge_train", judge_train, JUDGE_VOICES),
        ("judge_dev", judge_dev, JUDGE_VOICES),
    ):
        plan.carriers += [(split, utterance) for utterance in _in_turn(rng, f"carrier-{split}", texts, voices)]
    apart = random.Random(
        f"{settings.seed} denials corpus"
    )  # a separate generator: the rest is equal without negated_carriers
    denied = list(islice(cycle(negated_carriers(settings.seed)), settings.negated_carriers))
    plan.carriers += [("train", utterance) for utterance in _in_turn(apart, "denial", denied, settings.training_voices)]
    apart = random.Random(f"{settings.seed} lists corpus")
    rows = list(islice(word_lists(settings.seed), settings.word_lists))
    plan.carriers += [("train", utterance) for utterance in _in_turn(apart, "list", rows, settings.training_voices)]
    plan.questions = [*_questions(settings, rng), *_by_others(settings)]
    if settings.only is not None:  # after all draws, so that a split is equal without the others
        plan.carriers = [
            (split, utterance) for split, utterance in plan.carriers if f"carriers/{split}" in settings.only
        ]
        plan.questions = [question for question in plan.questions if f"questions/{question.split}" in settings.only]
    plan.texts = _texts(settings, train, dev)
    return plan


def draw_prosody(rng: random.Random, voice: Voice) -> Prosody:
    """Draw rate and pitch of an utterance; the pitch varies little, because it identifies the speaker."""
    centre = 50 if voice.gender == "M" else 55
    return Prosody(rng.randint(140, 200), rng.randint(centre - 10, centre + 10))


def _in_turn(rng: random.Random, name: str, texts: list[str], voices: tuple[Voice, ...]) -> Iterable[Utterance]:
    """Yield an utterance per sentence; the voices take turns."""
    for index, text in enumerate(texts):
        voice = voices[index % len(voices)]
        yield Utterance(f"{name}-{index:05d}", text, voice, draw_prosody(rng, voice))


def _questions(settings: CorpusSettings, rng: random.Random) -> Iterable[Question]:
    """Yield training questions by all training voices, and some for each unseen condition."""
    heldout = unseen_facts(settings.unseen_share, settings.seed)
    voices = settings.training_voices
    for index, fact in enumerate(facts()):
        kind = KINDS[fact.kind]
        trained = list(kind.trained_wordings)
        asked = partial(_question, rng, index, fact)
        if fact in heldout:
            for voice in (*rng.sample(voices, 2), *rng.sample(UNSEEN_SPEAKERS, 2)):
                yield asked("unseen_facts", voice, rng.choice(trained))
            continue
        for voice in voices:
            for wording in rng.sample(trained, min(settings.wordings_per_voice or len(trained), len(trained))):
                yield asked("train", voice, wording)
        for voice in UNSEEN_SPEAKERS:
            yield asked("unseen_speakers", voice, rng.choice(trained))
        for voice in (rng.choice(voices), rng.choice(UNSEEN_SPEAKERS)):
            yield asked("unseen_wordings", voice, kind.unseen_wording)


def _by_others(settings: CorpusSettings) -> Iterable[Question]:
    """Yield the questions of other voices; without random choices, so that all voices ask in the same way."""
    heldout = unseen_facts(settings.unseen_share, settings.seed)
    for voice in map(voice_called, settings.other_voices):
        for index, fact in enumerate(facts()):
            split, wordings = (
                ("other_voices_facts", KINDS[fact.kind].trained_wordings)
                if fact in heldout
                else ("other_voices", range(1))
            )
            for wording in wordings:
                yield _spoken(index, fact, split, voice, wording, Prosody())


def _question(rng: random.Random, index: int, fact: Fact, split: str, voice: Voice, wording: int) -> Question:
    """Return a question with random rate and pitch."""
    return _spoken(index, fact, split, voice, wording, draw_prosody(rng, voice))


def _spoken(index: int, fact: Fact, split: str, voice: Voice, wording: int, prosody: Prosody) -> Question:
    """Return a question; its answer has the same voice, rate and pitch."""
    name = f"{split}-{index:03d}-{wording}-{voice.name}"
    asked = Utterance(f"question-{name}", fact.question(wording), voice, prosody)
    return Question(split, asked, Utterance(f"answer-{name}", fact.answer, voice, prosody), fact.gold)


def _texts(settings: CorpusSettings, train: list[str], dev: list[str]) -> dict[str, list[str]]:
    """Return the texts of both language models, the model's and the judge's, drawn independently.

    The language model's text contains all facts, including the unseen ones: it can know from text what is never spoken.
    """
    rng = random.Random(f"{settings.seed} text")
    spoken = train or list(islice(carriers(f"{settings.seed} text"), 1000))
    model = [_marked(rng, settings.text_separator, spoken) for _ in range(settings.text_lines)]
    judge = [
        _judged(rng, sentence) for sentence in islice(carriers(f"{settings.seed} judge"), settings.judge_text_lines)
    ]
    model_dev = [_marked(rng, settings.text_separator, dev or spoken) for _ in range(200)]
    kept = min(200, len(judge) // 2)
    return {"train": model, "dev": model_dev, "judge_train": judge[kept:], "judge_dev": judge[:kept]}


def _marked(rng: random.Random, mark: str, sentences: list[str]) -> str:
    """Return a question with its answer, or a carrier that is cut at random, with the separator ``mark`` between."""
    if rng.random() < 0.5:
        fact = rng.choice(facts())
        return fact.question(rng.choice(KINDS[fact.kind].trained_wordings)) + mark + fact.answer
    words = rng.choice(sentences).split()
    cut = rng.randrange(1, len(words))
    return " ".join(words[:cut]) + mark + " ".join(words[cut:])


def _judged(rng: random.Random, sentence: str) -> str:
    """Return a sentence for the judge: a carrier, an answer, or a question."""
    fact = rng.choice(facts())
    return rng.choice((sentence, sentence, fact.answer, fact.question(rng.choice(KINDS[fact.kind].trained_wordings))))
