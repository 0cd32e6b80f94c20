"""Closed world of facts, questions about them, and carrier sentences with all its words.

With facts alone, a model would learn to map a question to the nearest trained one instead of recognising it. Carrier
sentences contain every word in many contexts, and every entity in the words of the questions. No carrier states a fact,
so an unseen fact is never spoken, and no carrier is a complete question, so an unseen question is never asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Fact:
    """Fact: the ``gold`` answer about an ``entity``, of one of the ``KINDS``."""

    kind: str
    entity: str
    gold: str

    def question(self, wording: int) -> str:
        """Return the question in one of the kind's wordings."""
        return KINDS[self.kind].questions[wording].format(self.entity)

    @property
    def answer(self) -> str:
        """Return the answer as a sentence."""
        return self.answer_with(self.gold)

    def answer_with(self, gold: str) -> str:
        """Return the answer sentence with another answer."""
        return KINDS[self.kind].answer.format(self.entity, gold)


@dataclass(frozen=True)
class Kind:
    """Kind of facts: question wordings (the last one only for tests), answer sentence, and names of its two words."""

    questions: tuple[str, ...]
    answer: str
    pairs: str
    slots: tuple[str, str]

    @property
    def trained_wordings(self) -> range:
        """Return the numbers of the training wordings."""
        return range(len(self.questions) - 1)

    @property
    def unseen_wording(self) -> int:
        """Return the number of the wording that only tests use."""
        return len(self.questions) - 1


KINDS = {
    "capital": Kind(
        questions=(
            "what is the capital of {}",
            "which city is the capital of {}",
            "name the capital of {}",
            "do you know the capital of {}",
            "tell me which city is the capital of {}",
        ),
        answer="the capital of {} is {}",
        pairs=(
            "france paris, england london, spain madrid, italy rome, germany berlin, norway oslo, sweden "
            "stockholm, finland helsinki, russia moscow, poland warsaw, austria vienna, greece athens, turkey "
            "ankara, egypt cairo, kenya nairobi, japan tokyo, china beijing, india delhi, canada ottawa, cuba "
            "havana, peru lima, chile santiago, portugal lisbon, ireland dublin, hungary budapest, iran tehran, "
            "belgium brussels, vietnam hanoi"
        ),
        slots=("country", "city"),
    ),
    "sound": Kind(
        questions=(
            "what does the {} say",
            "what sound does the {} make",
            "name the sound of the {}",
            "do you know what the {} says",
            "tell me what sound the {} makes",
        ),
        answer="the {} says {}",
        pairs=(
            "dog woof, cat meow, cow moo, lion roar, horse neigh, duck quack, pig oink, owl hoot, bee buzz, snake"
            " hiss, wolf howl, frog croak, mouse squeak, sheep baa, bird tweet, crow caw, chicken cluck, goose "
            "honk, bear growl, pigeon coo"
        ),
        slots=("animal", "sound"),
    ),
    "colour": Kind(
        questions=(
            "what colour is the {}",
            "which colour does the {} have",
            "name the colour of the {}",
            "do you know what colour the {} is",
            "tell me which colour the {} has",
        ),
        answer="the {} is {}",
        pairs=(
            "banana yellow, lemon yellow, sunflower yellow, tomato red, cherry red, blood red, grass green, "
            "cucumber green, spinach green, sky blue, ocean blue, snow white, milk white, coal black, tar black, "
            "carrot orange, pumpkin orange, chocolate brown, mud brown, plum purple, lavender purple, flamingo "
            "pink, ash grey, concrete grey"
        ),
        slots=("thing", "colour"),
    ),
}

# Slots of the carriers that the facts do not fill. Few words, so that each is heard often.
FILLERS = {
    "person": "anna tom maria peter sarah james emma david",
    "time": "yesterday today tomorrow again sometimes often",
    "number": "one two three four five six seven eight nine ten",
    "spot": "garden kitchen school station market forest",
    "verb": "saw heard found liked wanted remembered forgot painted",
    "size": "big small old new quiet loud",
}

CARRIERS = (
    "{person} asked about the capital of {country} {time}",
    "{person} went from {city} to {city} and then to {country}",
    "{person} {verb} the {animal} and the {thing} in {city}",
    "the {animal} and the {thing} are in {city} {time}",
    "the {size} {animal} {verb} the {colour} house in {country}",
    "{person} heard {sound} and then {sound} in the {spot}",
    "{number} {colour} cars and {number} {colour} boats came from {country}",
    "do you know the {size} {thing} from {country}",
    "tell me which {animal} you {verb} in the {spot}",
    "tell me about {city} and the capital of {country}",
    "what does {person} say about {city} and {country}",
    "what did the {animal} do with the {thing} in {city}",
    "which sound does {person} make in the {spot} {time}",
    "which city has the {colour} house and a {colour} {spot}",
    "name the animal that {person} {verb} in {country}",
    "name {number} things that have the colour {colour}",
    "do you know what {person} says about the {animal}",
    "does the {animal} have the {colour} house in {city}",
    "is {city} the {size} city or is it in {country}",
    "{person} says that {city} has {number} schools",
    "the word {sound} makes {person} think of {country}",
    "{person} likes the colour {colour} and the colour {colour}",
    "the {thing} in the {spot} was {size} {time}",
    "one {animal} makes a sound and {number} more say {sound}",
    "i {verb} the {thing} and the {thing} in the {spot} {time}",
    "we {verb} {sound} on the radio in {city} {time}",
    "is this the colour of the {thing} that you {verb} in {city}",
    "the sound of the {animal} is not the sound of the {animal}",
    "tell {person} that the {animal} is in the {spot} with the {thing}",
    "{person} does not know what the {thing} has to do with {city}",
    "me and {person} {verb} the {colour} bird and a {size} {animal} in {country}",
    "have you been to {country} or to {city} {time}",
    "{city} {sound} {thing} {colour} {country}",
    "{animal} {country} {colour} {city} {thing} {sound}",
    "{thing} {sound} {city} {animal} {colour}",
    "{country} and {country} and {city} and {city}",
    *(
        carrier.format(wording=kind.questions[wording].format(f"{{{kind.slots[0]}}}"))
        for kind in KINDS.values()
        for wording in kind.trained_wordings
        for carrier in ("{{person}} asked {wording} {{time}}", "{wording} asked {{person}} {{time}}")
    ),
)


@cache
def facts() -> tuple[Fact, ...]:
    """Return all facts, kind by kind."""
    return tuple(Fact(name, *pair.split()) for name, kind in KINDS.items() for pair in kind.pairs.split(", "))


def unseen_facts(share: float, seed: int) -> set[Fact]:
    """Return the unseen facts: the same fraction of every kind, drawn from the seed."""
    drawn: set[Fact] = set()
    for name in KINDS:
        members = [fact for fact in facts() if fact.kind == name]
        drawn.update(random.Random(f"{seed} heldout {name}").sample(members, round(share * len(members))))
    return drawn


def vocabulary() -> set[str]:
    """Return every word of the facts, questions and answers."""
    texts = [
        text for fact in facts() for text in (fact.answer, *map(fact.question, range(len(KINDS[fact.kind].questions))))
    ]
    return {word for text in texts for word in text.split()}


@cache
def slots() -> dict[str, tuple[str, ...]]:
    """Return the words for each slot of a carrier: the fillers, and the entities and answers of every kind."""
    filled = {name: tuple(words.split()) for name, words in FILLERS.items()}
    for name, kind in KINDS.items():
        entity, gold = kind.slots
        members = [fact for fact in facts() if fact.kind == name]
        filled[entity] = tuple(fact.entity for fact in members)
        filled[gold] = tuple(dict.fromkeys(fact.gold for fact in members))
    return filled


def states_a_fact(sentence: str) -> bool:
    """Return whether a sentence contains an entity and its answer."""
    words = set(sentence.split())
    return any(fact.entity in words and fact.gold in words for fact in facts())


class _Decks(dict[str, str]):
    """Draw a word for a slot; every word of the slot is used once before one is repeated."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.decks: dict[str, list[str]] = {name: [] for name in slots()}

    def __missing__(self, name: str) -> str:
        deck = self.decks[name]
        if not deck:
            deck.extend(self.rng.sample(slots()[name], len(slots()[name])))
        return deck.pop()


def carriers(seed: object) -> Iterator[str]:
    """Yield endless distinct carrier sentences, none of which states a fact."""
    rng = random.Random(f"{seed} carriers")
    decks = _Decks(rng)
    seen: set[str] = set()
    while True:
        sentence = rng.choice(CARRIERS).format_map(decks)
        if sentence not in seen and not states_a_fact(sentence):
            seen.add(sentence)
            yield sentence


def mismatches(seed: object) -> list[str]:
    """Return all answer sentences with a wrong answer, shuffled, so that a recogniser learns answers but no facts."""
    wrong = [
        fact.answer_with(other)
        for fact in facts()
        for other in {f.gold for f in facts() if f.kind == fact.kind} - {fact.gold}
    ]
    return random.Random(f"{seed} mismatches").sample(sorted(wrong), len(wrong))


def negated_carriers(seed: object) -> list[str]:
    """Return wrong answers that are denied or reported, shuffled: they contain the words of all answers but no fact."""
    rng = random.Random(f"{seed} denials")
    said: list[str] = []
    for sentence in mismatches(f"{seed} denials"):
        beginning, _, gold = sentence.rpartition(" ")
        said += [f"{beginning} not {gold}", f"{rng.choice(slots()['person'])} says that {sentence}"]
    return said


def word_lists(seed: object) -> Iterator[str]:
    """Yield endless distinct rows of six words in random order, half of them answers; none states a fact."""
    rng = random.Random(f"{seed} word lists")
    answers = sorted({fact.gold for fact in facts()})
    decks = (answers, sorted(vocabulary() - set(answers)))
    drawn: tuple[list[str], list[str]] = ([], [])
    seen: set[str] = set()
    while True:
        for words, deck in zip(decks, drawn, strict=True):
            if len(deck) < 3:
                deck.extend(rng.sample(words, len(words)))
        row = [deck.pop() for _ in range(3) for deck in drawn]
        sentence = " ".join(rng.sample(row, 6))
        if sentence not in seen and not states_a_fact(sentence):
            seen.add(sentence)
            yield sentence
