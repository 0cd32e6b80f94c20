"""Page of the first items of an experiment's data: sound, words, and the sequence with the loss of each place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectron.audio.picture import printable
from spectron.batch import LossTerm, Word
from spectron.evaluation.look.looking import Look, LookedItem, LookedSegment
from spectron.evaluation.report.figures import figure
from spectron.evaluation.report.media import Clip, clip_of
from spectron.evaluation.report.page import write_page
from spectron.evaluation.report.plots import COLOURS
from spectron.segments import Place

SPACE = "\N{OPEN BOX}"  # makes the space of a token visible
CHARACTER = 0.62  # width of a character below a recording, in percent of the widest page


@dataclass(frozen=True)
class Bar:
    """Loss of a place: height in percent of the highest bar of this loss on the page, and the value."""

    height: float
    value: str


@dataclass(frozen=True)
class Mark:
    """Place on the page: its token, the text on hover, its bars, and its part of a recording in percent."""

    token: str
    predicted: str
    about: str
    bars: list[Bar]
    recording: str
    left: float
    width: float


@dataclass(frozen=True)
class Row:
    """Loss in a table, exact values as ``repr``."""

    name: str
    mean: str
    total: str
    count: str
    weight: str
    exact: str
    by_place: bool


@dataclass(frozen=True)
class Stripe:
    """Segment on the page."""

    name: str
    about: str
    colour: int
    drawn: list[str]
    marks: list[Mark]
    rows: list[Row]


@dataclass(frozen=True)
class SpokenWord:
    """Word below a recording: line, place and room in percent of the recording, and its duration in percent."""

    text: str
    about: str
    line: int
    left: float
    room: float
    width: float


@dataclass(frozen=True)
class Sound:
    """Recording on the page with its part of the item's duration in percent."""

    name: str
    seconds: float
    share: float
    clip: Clip | None
    text: str
    words: list[SpokenWord]


@dataclass(frozen=True)
class Card:
    """One item on the page."""

    id: str
    about: str
    sounds: list[Sound]
    stripes: list[Stripe]


def write_look(looked: Look, path: Path, reference: str) -> Path:
    """Write the page.

    Args:
        looked: The items.
        path: File to write.
        reference: Name of the experiment or the model as the user gave it.

    Returns:
        The path.

    Raises:
        DataError: if the file cannot be written.
    """
    heights = largest(looked)
    segments = looked.items[0].segments
    return write_page(
        path,
        "look.html",
        script="look.js",
        name=looked.experiment.name,
        reference=reference,
        facts=facts(looked),
        legend=[(place % COLOURS, segment.name, segment.class_path) for place, segment in enumerate(segments)],
        scales=[(name, figure(high)) for name, high in heights.items()],
        cards=[card(item, looked, heights) for item in looked.items],
        rows=rows(looked.losses, {}, {name: w for segment in segments for name, w in segment.weights.items()}),
        loss=None if looked.loss is None else figure(looked.loss),
        skipped=looked.skipped,
        config=looked.experiment.stored_config,
    )


def facts(looked: Look) -> dict[str, str]:
    """Return what the page states about the whole, by title."""
    source, config = looked.source, looked.experiment.config
    model = f"as in {source.path}" if source else "as training starts from it"
    if not source and config["weights"]:
        model += f"; weights of {', '.join(config['weights'])}"
    seed = str(config["seed"])
    if looked.data_seed is not None:
        seed += f"; of the data {looked.data_seed}"
    limit = looked.max_positions
    most = max(item.positions for item in looked.items)
    return {
        "Model": f"{model}, in eval mode: without dropout, and each place read from the true past",
        "Items": f"the first {len(looked.items)} of the {looked.split} data",
        "Seed": seed,
        "Context": f"{most} positions in the longest sequence, "
        + ("no limit" if limit is None else f"{most / limit:.0%} of {limit}"),
        "Sample rates": f"prompt {looked.prompt_rate_hz} Hz, continuation {looked.speech_rate_hz} Hz",
    }


def drawn(segment: LookedSegment) -> list[str]:
    """Return the losses that are drawn: those that training minimises."""
    return [name for name, weight in segment.weights.items() if weight > 0 and name in segment.by_place]


def largest(looked: Look) -> dict[str, float]:
    """Return the largest loss of a place by name, for one scale on the whole page."""
    found: dict[str, float] = {}
    for segment in (segment for item in looked.items for segment in item.segments):
        for name in drawn(segment):
            found[name] = max([found.get(name, 0.0), *segment.by_place[name]])
    return found


def card(item: LookedItem, looked: Look, heights: dict[str, float]) -> Card:
    """Return one item."""
    prompt, continuation = len(item.prompt) / looked.prompt_rate_hz, len(item.continuation) / looked.speech_rate_hz
    whole, limit = prompt + continuation, looked.max_positions
    about = [f"speaker {item.speaker}"] if item.speaker else []
    about += [f"split {item.split}"] if item.split else []
    about += [f"{whole:.2f} s, cut at {prompt:.2f} s"]
    about += [f"{item.positions} positions" + ("" if limit is None else f", {item.positions / limit:.0%} of {limit}")]
    about += [] if item.loss is None else [f"loss {figure(item.loss)}"]
    words = spoken_words(item.words, continuation, whole)
    sounds = [
        Sound(name, seconds, 100 * seconds / whole, clip_of(waveform, rate), text, spoken)
        for name, seconds, waveform, rate, text, spoken in (
            ("prompt", prompt, item.prompt, looked.prompt_rate_hz, item.prompt_text, []),
            ("continuation", continuation, item.continuation, looked.speech_rate_hz, item.continuation_text, words),
        )
        if seconds
    ]
    lengths = {"prompt": prompt, "continuation": continuation}
    stripes = [stripe(segment, place, lengths, heights) for place, segment in enumerate(item.segments)]
    return Card(printable(item.id), " · ".join(about), sounds, stripes)


def spoken_words(words: list[Word], seconds: float, page_seconds: float) -> list[SpokenWord]:
    """Return words in as many lines as they need; ``page_seconds`` take the whole width of the page."""
    ends: list[float] = []  # of the last word of each line
    placed = []
    for word in words:
        left = 100 * word.begin / seconds
        needed = CHARACTER * (len(word.text) + 1) * page_seconds / seconds
        line = next((number for number, end in enumerate(ends) if end <= left), len(ends))
        ends[line : line + 1] = [left + needed]
        about = f"{word.text} · {word.begin:.2f} to {word.end:.2f} s of the continuation"
        placed.append(SpokenWord(word.text, about, line, left, needed, 100 * (word.end - word.begin) / seconds))
    return placed


def stripe(segment: LookedSegment, number: int, lengths: dict[str, float], heights: dict[str, float]) -> Stripe:
    """Return one segment, the ``number``-th of the sequence; ``lengths`` are the seconds of the recordings."""
    shown, count = drawn(segment), len(segment.places)
    marks = [mark(segment, place, shown, lengths, heights) for place in range(count)]
    about = f"positions {segment.begin} to {segment.begin + count - 1}" if count else "no position"
    about += f", {count} in all" if count > 1 else ""
    about += ", seen in both directions" if segment.bidirectional else ""
    return Stripe(
        segment.name, about, number % COLOURS, shown, marks, rows(segment.losses, segment.by_place, segment.weights)
    )


def mark(
    segment: LookedSegment, place: int, shown: list[str], lengths: dict[str, float], heights: dict[str, float]
) -> Mark:
    """Return one place of a segment."""
    found, losses = segment.places[place], {name: values[place] for name, values in segment.by_place.items()}
    bars = [Bar(100 * max(losses[name], 0.0) / (heights[name] or 1.0), figure(losses[name], 2)) for name in shown]
    whole = lengths.get(found.recording, 0.0)
    left, width = (100 * found.begin / whole, 100 * (found.end - found.begin) / whole) if whole else (0.0, 0.0)
    # A place in a recording is drawn narrow, like a frame; any other place shows its token.
    token = "" if found.recording else token_text(found.reads)
    return Mark(
        token,
        "" if found.recording else token_text(found.predicts),
        described(segment, found, segment.begin + place, losses),
        bars,
        found.recording if width else "",
        left,
        min(width, 100 - left),
    )


def described(segment: LookedSegment, place: Place, position: int, losses: dict[str, float]) -> str:
    """Return the text on hover of a place."""
    said = [f"position {position}", segment.name]
    said += [f"reads {token_text(place.reads)}"] if place.reads else []
    said += [f"predicts {token_text(place.predicts)}"] if place.predicts else []
    said += [f"{place.begin:.3f} to {place.end:.3f} s of the {place.recording}"] if place.recording else []
    said += [f"{name} {figure(value)}" for name, value in losses.items()]
    return " · ".join(said)


def token_text(text: str) -> str:
    """Return a token with a visible space at its ends and without control characters."""
    inner = printable(text.strip(" "))
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return SPACE * len(text) if not inner else SPACE * before + inner + SPACE * after


def rows(losses: dict[str, LossTerm], by_place: dict[str, list[float]], weights: dict[str, float]) -> list[Row]:
    """Return the table of losses, those first that training minimises."""
    return [
        Row(
            name,
            figure(float(term.mean)),
            figure(float(term.total)),
            figure(float(term.count)),
            f"{weights[name]:g}" if name in weights else "",
            repr(float(term.mean)),
            name in by_place,
        )
        for name, term in sorted(losses.items(), key=lambda pair: (pair[0] not in weights, pair[0]))
    ]
