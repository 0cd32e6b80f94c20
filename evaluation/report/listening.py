"""Audio of single items: the prompt, the answer of each system, and the reference."""

from __future__ import annotations

from dataclasses import dataclass, field

from spectron.evaluation.report.figures import NO_VALUE, figure
from spectron.evaluation.report.media import Clip, Media
from spectron.evaluation.report.stored import StoredEvaluation, StoredItem
from spectron.evaluation.report.words import MarkedWord, mark_errors, plain

LISTENING_ITEMS = 12
MEDIA_CHARACTERS = 8_500_000  # keeps a page below 10 MB, the limit of many mail and review tools


@dataclass(frozen=True)
class Column:
    """System whose answers are shown, and its title."""

    title: str
    evaluation: StoredEvaluation
    system: str


@dataclass(frozen=True)
class Score:
    """Metric of one item as text, and its numerator and denominator."""

    name: str
    shown: str
    division: str


@dataclass
class Voice:
    """One recording of a card with its texts and scores.

    Args:
        title: Prompt, reference, or the title of the system.
        clip: The recording; None if there is none.
        note: A remark on the recording.
        failure: Why the system has no answer; empty if it has one.
        texts: Marked texts by label.
        scores: Metrics of this answer.
    """

    title: str
    clip: Clip | None = None
    note: str = ""
    failure: str = ""
    texts: dict[str, list[MarkedWord]] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)


@dataclass
class Card:
    """One item: id, speaker and split, recordings, and the duration of the longest recording in seconds."""

    id: str
    about: str
    voices: list[Voice]
    longest_seconds: float


@dataclass
class Listening:
    """Items of a task with audio, and the number of all its items."""

    task: str
    cards: list[Card]
    items: int


def listen(columns: dict[str, list[Column]], most: int, media: Media) -> dict[str, Listening]:
    """Return cards of the first items of each task; the tasks take turns until the page is full.

    Args:
        columns: Systems to show, by task; the first one determines the items and their order.
        most: Largest number of items per task.
        media: Clips of the page; it receives the clips of the cards.
    """
    stored, listening = {}, {}
    for task, shown in columns.items():
        stored[task] = [column.evaluation.items_of(task, column.system) for column in shown]
        items = stored[task][0]
        if any(item.audio for item in items.values()):
            listening[task] = Listening(task, [], len(items))
    for place in range(most):
        for task in listening:
            ids = list(stored[task][0])
            if place < len(ids) and media.spent < MEDIA_CHARACTERS:
                rows = [items.get(ids[place]) for items in stored[task]]
                listening[task].cards.append(_card(columns[task], rows, media))
    return listening


def _card(columns: list[Column], rows: list[StoredItem | None], media: Media) -> Card:
    """Return the card of one item; ``rows`` are the answers of the columns, None if a system left the item out."""
    pairs = [(column, item) for column, item in zip(columns, rows, strict=True) if item is not None]
    column, first = pairs[0]
    voices = [_prompt(column, first, media), *(_answer(column, item, media) for column, item in pairs)]
    # If the baseline `recording` is among the systems, it already shows the reference together with its scores.
    reference = first.audio.get("reference")
    if reference is not None and not any(item.audio.get("generated") == reference for _, item in pairs):
        texts = {"said": plain(first.reference_text)}
        voices.append(Voice("reference", _clip(column, first, "reference", media), texts=texts))
    about = [f"speaker {first.speaker}"] if first.speaker else []
    about += [f"split {first.split}"] if first.split else []
    longest = max((voice.clip.seconds for voice in voices if voice.clip), default=0.0)
    return Card(first.id, ", ".join(about), voices, longest)


def _prompt(column: Column, item: StoredItem, media: Media) -> Voice:
    """Return the prompt with its text, and with the accepted answers or the reference text."""
    texts = {"said": plain(item.prompt_text)} if item.prompt_text else {}
    if item.answers:
        texts["accepted answers"] = plain(", ".join(item.answers))
    elif item.reference_text:
        texts["reference text"] = plain(item.reference_text)
    return Voice("prompt", _clip(column, item, "prompt", media), texts=texts)


def _answer(column: Column, item: StoredItem, media: Media) -> Voice:
    """Return the answer of a system with its texts, their errors marked, and its scores."""
    texts = {}
    if item.transcript is not None:
        texts["transcribed"] = mark_errors(item.prompt_text, item.transcript)
        texts["written"] = plain(item.continuation_text or "")
    elif item.text:
        texts["said"] = plain(item.text)
    if item.heard is not None:
        texts["recognised"] = mark_errors(item.continuation_text or "", item.heard)
    cut = [] if item.stopped else ["speech cut off at the maximum duration"]
    cut += ["text cut off at the maximum number of tokens"] if item.text_stopped is False else []
    note = "" if item.failure else ", ".join(cut)
    scores = []
    for name, parts in item.parts.items():
        if parts is None or parts[1] == 0:
            scores.append(Score(name, NO_VALUE, "skipped"))
        else:
            division = "" if parts[1] == 1 else f"{figure(parts[0])} / {figure(parts[1])}"
            scores.append(Score(name, figure(parts[0] / parts[1]), division))
    return Voice(column.title, _clip(column, item, "generated", media), note, item.failure or "", texts, scores)


def _clip(column: Column, item: StoredItem, kind: str, media: Media) -> Clip | None:
    """Return the clip of an item's ``prompt``, ``generated`` or ``reference`` audio; None if there is none."""
    return media.clip(column.evaluation.audio_file(item.audio[kind])) if kind in item.audio else None
