"""Items to listen to: prompt, what each system made of it, and the reference, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from spectron.evaluation.report.figures import NO_VALUE, figure
from spectron.evaluation.report.media import Clip, Media
from spectron.evaluation.report.stored import StoredEvaluation, StoredItem
from spectron.evaluation.report.words import MarkedWord, mark_errors, plain

LISTENING_ITEMS = 12
MEDIA_CHARACTERS = 8_500_000  # a page stays below 10 MB: mail and review tools take no more


@dataclass(frozen=True)
class Column:
    """A system whose answers are shown, under a title."""

    title: str
    evaluation: StoredEvaluation
    system: str


@dataclass(frozen=True)
class Score:
    """A metric of one item as it is shown, and the division behind it."""

    name: str
    shown: str
    division: str


@dataclass
class Voice:
    """One recording of a card, with what was said, written and heard in it.

    Args:
        title: Whose it is.
        clip: The recording, None where there is none.
        note: What else has to be known of it.
        failure: Why the system gave nothing, where it failed.
        texts: Marked texts by label.
        scores: What the metrics say of it.
    """

    title: str
    clip: Clip | None = None
    note: str = ""
    failure: str = ""
    texts: dict[str, list[MarkedWord]] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)


@dataclass
class Card:
    """One item: its id, what is known of it, its recordings, and the length in seconds of the longest of them."""

    id: str
    about: str
    voices: list[Voice]
    longest_seconds: float


@dataclass
class Listening:
    """The items of a task that can be listened to, and how many items the task has."""

    task: str
    cards: list[Card]
    items: int


def listen(columns: dict[str, list[Column]], most: int, media: Media) -> dict[str, Listening]:
    """Cards for the first items of each task, in turn among the tasks, until there are enough or the page is full.

    Args:
        columns: What stands side by side, by task; the first column of a task sets the items and their order.
        most: Items a task.
        media: Where clips are kept.
    """
    stored = {
        task: [column.evaluation.items_of(task, column.system) for column in shown] for task, shown in columns.items()
    }
    listening = {
        task: Listening(task, [], len(items[0])) for task, items in stored.items() if _any_audio(items[0].values())
    }
    for place in range(most):
        for task in listening:
            ids = list(stored[task][0])
            if place < len(ids) and media.spent < MEDIA_CHARACTERS:
                rows = [items.get(ids[place]) for items in stored[task]]
                listening[task].cards.append(_card(columns[task], rows, media))
    return listening


def _any_audio(items: Iterable[StoredItem]) -> bool:
    return any(item.audio for item in items)


def _card(columns: list[Column], rows: list[StoredItem | None], media: Media) -> Card:
    pairs = [(column, item) for column, item in zip(columns, rows, strict=True) if item is not None]
    column, first = pairs[0]
    voices = [_prompt(column, first, media), *(_answer(column, item, media) for column, item in pairs)]
    # The recording itself is often one of the systems: it is then shown once, with what the judges made of it.
    if "reference" in first.audio and not any(
        item.audio.get("generated") == first.audio["reference"] for _, item in pairs
    ):
        voices.append(
            Voice("reference", _clip(column, first, "reference", media), texts={"said": plain(first.reference_text)})
        )
    about = [f"speaker {first.speaker}"] if first.speaker else []
    about += [f"split {first.split}"] if first.split else []
    longest = max((voice.clip.seconds for voice in voices if voice.clip), default=0.0)
    return Card(first.id, ", ".join(about), voices, longest)


def _prompt(column: Column, item: StoredItem, media: Media) -> Voice:
    texts = {"said": plain(item.prompt_text)} if item.prompt_text else {}
    if item.answers:
        texts["accepted answers"] = plain(", ".join(item.answers))
    elif item.reference_text:
        texts["what followed"] = plain(item.reference_text)
    return Voice("prompt", _clip(column, item, "prompt", media), texts=texts)


def _answer(column: Column, item: StoredItem, media: Media) -> Voice:
    texts = {}
    if item.transcript is not None:
        texts["transcribed"] = mark_errors(item.prompt_text, item.transcript)
        texts["written"] = plain(item.continuation_text or "")
    elif item.text:
        texts["said"] = plain(item.text)
    if item.heard is not None:
        texts["heard"] = mark_errors(item.continuation_text or "", item.heard)
    note = "" if item.stopped or item.failure else "cut at the longest length allowed"
    scores = [Score(name, *_division(parts)) for name, parts in item.parts.items()]
    return Voice(column.title, _clip(column, item, "generated", media), note, item.failure or "", texts, scores)


def _division(parts: tuple[float, float] | None) -> tuple[str, str]:
    if parts is None or parts[1] == 0:
        return NO_VALUE, "skipped"
    return figure(parts[0] / parts[1]), "" if parts[1] == 1 else f"{figure(parts[0])} / {figure(parts[1])}"


def _clip(column: Column, item: StoredItem, kind: str, media: Media) -> Clip | None:
    return media.clip(column.evaluation.audio_file(item.audio[kind])) if kind in item.audio else None
