"""What a synthetic corpus will hold: who says what, in which split; drawn by the seed before anything is spoken."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, islice

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


@dataclass
class CorpusSettings:
    """What the synthetic corpus holds.

    Args:
        voices: Training voices used, of the twenty there are.
        carriers: Carrier sentences to train on, each by one training voice.
        dev_carriers: Other sentences by held-out voices; as many again by the judge's voices.
        judge_carriers: Sentences by voices of their own, to train a judge's recogniser; at most half are answers with a wrong fact in them.
        negated_carriers: Carriers more to train on, in the answers' words: wrong answers, denied or told by somebody; of more than there are
            (2,752) the first come again by other voices.
        word_lists: Carriers more to train on: rows of six words in no order, half of them answers.
        other_voices: Voices more to ask with, by espeak's names (``en-us+travis``): all facts, in ``other_voices`` those that training
            asks for, in their first wording, and in ``other_voices_facts`` the held-out ones, in all trained wordings.
        wordings_per_voice: Question wordings drawn for each trained fact and voice, all where there are no more; 0 takes all.
        text_lines: Sentences for the language model.
        judge_text_lines: Sentences for the judge's language model.
        unseen_share: Share of facts that are never asked in training.
        text_separator: Stands between question and answer in the language model's text.
        seed: Draws everything.
        only: The splits to speak, such as ``carriers/train`` or ``questions/unseen_facts``; None speaks all. What a split holds does not
            depend on it.
    """

    voices: int = len(TRAINING_VOICES)
    carriers: int = 12000
    dev_carriers: int = 200
    judge_carriers: int = 8000
    negated_carriers: int = 0
    word_lists: int = 0
    other_voices: list[str] = field(default_factory=list)
    wordings_per_voice: int = 0
    text_lines: int = 30000
    judge_text_lines: int = 30000
    unseen_share: float = 0.2
    text_separator: str = " | "
    seed: int = 17
    only: list[str] | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.only or ()) - set(SPLITS)):
            raise ConfigError(f"there is no split {', '.join(unknown)}. Valid names: {', '.join(SPLITS)}", key="only")
        known = {voice.name for voice in (*TRAINING_VOICES, *UNSEEN_SPEAKERS, *JUDGE_VOICES)}
        if taken := known & {name.replace("+", "-").lower() for name in self.other_voices}:
            raise ConfigError(
                f"{', '.join(sorted(taken))} is no other voice: the world has it already", key="other_voices"
            )
        if not 2 <= self.voices <= len(TRAINING_VOICES):
            raise ConfigError(f"must be from 2 to {len(TRAINING_VOICES)}, got {self.voices}", key="voices")
        if not 0 <= self.unseen_share < 1:
            raise ConfigError(f"must be from 0 to below 1, got {self.unseen_share}", key="unseen_share")

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
        return [utterance for _, utterance in self.carriers] + [
            u for q in self.questions for u in (q.asked, q.answered)
        ]

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
        ("dev", dev, UNSEEN_SPEAKERS),
        ("judge_train", judge_train, JUDGE_VOICES),
        ("judge_dev", judge_dev, JUDGE_VOICES),
    ):
        plan.carriers += [(split, utterance) for utterance in _in_turn(rng, f"carrier-{split}", texts, voices)]
    apart = random.Random(f"{settings.seed} denials corpus")  # all else is the same without negated_carriers
    denied = list(islice(cycle(negated_carriers(settings.seed)), settings.negated_carriers))
    plan.carriers += [("train", utterance) for utterance in _in_turn(apart, "denial", denied, settings.training_voices)]
    apart = random.Random(f"{settings.seed} lists corpus")
    rows = list(islice(word_lists(settings.seed), settings.word_lists))
    plan.carriers += [("train", utterance) for utterance in _in_turn(apart, "list", rows, settings.training_voices)]
    plan.questions = [*_questions(settings, rng), *_by_others(settings)]
    if settings.only is not None:  # after everything is drawn, so that a split is the same without the others
        plan.carriers = [
            (split, utterance) for split, utterance in plan.carriers if f"carriers/{split}" in settings.only
        ]
        plan.questions = [question for question in plan.questions if f"questions/{question.split}" in settings.only]
    plan.texts = _texts(settings, train, dev)
    return plan


def draw_prosody(rng: random.Random, voice: Voice) -> Prosody:
    """A rate and a pitch for one utterance; pitch varies little, because it tells speakers apart."""
    centre = 50 if voice.gender == "M" else 55
    return Prosody(rng.randint(140, 200), rng.randint(centre - 10, centre + 10))


def _in_turn(rng: random.Random, name: str, texts: list[str], voices: tuple[Voice, ...]) -> Iterable[Utterance]:
    """Sentences that the voices say in turn."""
    for index, text in enumerate(texts):
        voice = voices[index % len(voices)]
        yield Utterance(f"{name}-{index:05d}", text, voice, draw_prosody(rng, voice))


def _questions(settings: CorpusSettings, rng: random.Random) -> Iterable[Question]:
    """Training questions by all training voices, and a few for each way of being new."""
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
    """The questions of voices that nothing was trained on; nothing is drawn, so that each asks in the same way."""
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
    """One question, its rate and pitch drawn."""
    return _spoken(index, fact, split, voice, wording, draw_prosody(rng, voice))


def _spoken(index: int, fact: Fact, split: str, voice: Voice, wording: int, prosody: Prosody) -> Question:
    """One question; the voice keeps its rate and pitch for the answer."""
    name = f"{split}-{index:03d}-{wording}-{voice.name}"
    asked = Utterance(f"question-{name}", fact.question(wording), voice, prosody)
    return Question(split, asked, Utterance(f"answer-{name}", fact.answer, voice, prosody), fact.gold)


def _texts(settings: CorpusSettings, train: list[str], dev: list[str]) -> dict[str, list[str]]:
    """Text of the language model and of a judge's, each drawn by itself.

    The model's has all facts, the held-out ones too: it may know from text what it never heard.
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
