"""Fields of manifests, and the values that they can have.

Every manifest is checked here, whoever wrote it. What depends on the audio file is checked by ``read_headers`` in
``manifest.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectron.errors import DataError
from spectron.text_files import read_json_lines

# Control characters, line separators, and what a file name that is not UTF-8 becomes.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# The durations of a manifest can be rounded. A larger difference means another file or a truncated one.
DURATION_TOLERANCE_SECONDS = 0.1
SHOWN = 60  # characters of a wrong value in a message

Check = Callable[[Any], str | None]


@dataclass(frozen=True)
class Field:
    """Field of a manifest.

    Args:
        check: Function that returns what a wrong value should be, or None for a right value.
        required: Whether every line must have it.
    """

    check: Check
    required: bool = False


def read_entries(path: Path, fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    """Return the checked lines of a manifest; the key ``where`` contains file and line number.

    Args:
        path: The manifest; every line has a unique ``id``.
        fields: Fields that are checked. A line can have others.

    Raises:
        DataError: if the manifest is missing, a line is invalid, or two lines have one id.
    """
    lines = list(read_json_lines(path))
    places: dict[str, list[str]] = {}
    for line in lines:
        if (problem := problem_of(line.content, fields)) is not None:
            raise DataError(f"{line.where} {problem}", file=path)
        places.setdefault(line.content["id"], []).append(line.where)
    if twice := [name for name, places_of_one in places.items() if len(places_of_one) > 1]:
        first, second, *_ = places[twice[0]]
        raise DataError(
            f"{second} uses the id {twice[0]!r} more than once: {first} has it too ({len(twice)} ids in all). Make ids "
            "unique",
            file=path,
        )
    return [line.content | {"where": line.where} for line in lines]


def problem_of(line: Mapping[str, Any], fields: Mapping[str, Field]) -> str | None:
    """Return what is wrong with a line, without its place; None if nothing is wrong."""
    for name, field in fields.items():
        if name not in line:
            if field.required:
                return f"has no field {name!r}: add it to the line"
            continue
        if (should := field.check(line[name])) is not None:
            return f"has {shown(line[name])} as {name!r}, which {should}"
    return None


def words_beyond(words: Sequence[Sequence[Any]] | None, duration: float, rate_hz: float) -> str | None:
    """Return why words cannot belong to a recording of ``duration`` seconds; None if they end within it."""
    if not words or (last := words[-1])[2] <= duration + DURATION_TOLERANCE_SECONDS:
        return None
    units = {"milliseconds": 1000, "samples": rate_hz}
    plausible = 0.1 * duration, duration + DURATION_TOLERANCE_SECONDS
    unit = next((name for name, size in units.items() if plausible[0] <= last[2] / size <= plausible[1]), None)
    cure = f"word times are in seconds, and these look like {unit}" if unit else "correct the times"
    return f"ends with the word {shown(list(last))}, but the recording has {duration:.2f} s: {cure}"


def shown(value: Any) -> str:
    """Return a value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def label(value: Any) -> str | None:
    """Accept text that can be a name, such as an id or a path."""
    valid = isinstance(value, str) and value.strip() and not CONTROL.search(value)
    return None if valid else "should be text, not empty and without control characters"


def label_or_number(value: Any) -> str | None:
    """Accept a name or an integer, such as the number of a speaker."""
    return None if isinstance(value, int) and not isinstance(value, bool) else label(value)


def text(value: Any) -> str | None:
    """Accept any text."""
    return None if isinstance(value, str) else "should be text"


def seconds(value: Any) -> str | None:
    """Accept a duration."""
    return None if _is_number(value) and value > 0 else "should be a number of seconds above 0"


def seconds_or_zero(value: Any) -> str | None:
    """Accept a duration, or 0."""
    return None if _is_number(value) and value >= 0 else "should be a number of seconds, 0 or above"


def hertz(value: Any) -> str | None:
    """Accept a sample rate."""
    return None if _is_number(value) and value > 0 and value == int(value) else "should be a whole number of Hz above 0"


def word_times(value: Any) -> str | None:
    """Accept words with their times in seconds, in the order in which they are spoken, or null."""
    if value is None:
        return None
    if not isinstance(value, list):
        return "should be [[word, begin, end], ...] or null"
    last_begin = last_end = 0.0
    for number, word in enumerate(value, 1):
        if not (isinstance(word, list) and len(word) == 3 and isinstance(word[0], str) and word[0].strip()):
            return f"should be [[word, begin, end], ...], but word {number} is {shown(word)}"
        _, begin, end = word
        if not (_is_number(begin) and _is_number(end) and begin >= 0):
            return f"should have times in seconds, 0 or above, but word {number} is {shown(word)}"
        if end < begin:
            return f"should have words that end after they begin, but word {number} is {shown(word)}"
        if begin < last_begin or end < last_end:
            return f"should be sorted by time, but word {number}, {shown(word)}, follows {shown(value[number - 2])}"
        last_begin, last_end = begin, end
    return None


def gold_answers(value: Any) -> str | None:
    """Accept answers that a transcript can contain, as letters and digits are compared and no other signs, or null."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(answer, str) for answer in value):
        return "should be a list of texts or null"
    unmatched = next((answer for answer in value if not can_be_matched(answer)), None)
    return None if unmatched is None else f"should not contain {unmatched!r}, which no transcript can match"


def can_be_matched(answer: str) -> bool:
    """Return whether an answer contains a letter or a digit."""
    return any(map(str.isalnum, answer))


def or_null(check: Check) -> Check:
    """Return a check that also accepts null."""

    def accept(value: Any) -> str | None:
        should = None if value is None else check(value)
        return should and f"{should} (or null)"

    return accept


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a float can represent."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


UTTERANCE = {
    "id": Field(label, required=True),
    "audio_filepath": Field(label, required=True),
    "text": Field(or_null(text), required=True),
    "duration": Field(or_null(seconds)),
    "sample_rate": Field(or_null(hertz)),
    "speaker": Field(or_null(label_or_number)),
    "gender": Field(or_null(text)),
    "split": Field(or_null(label)),
    "words": Field(word_times),
    "answers": Field(gold_answers),
    "answer_text": Field(or_null(text)),
    "answer_audio_filepath": Field(or_null(label)),
    "answer_duration": Field(or_null(seconds)),
    "answer_sample_rate": Field(or_null(hertz)),
    "answer_words": Field(word_times),
}

SIDES = ("positive", "negative")
PAIR = {
    "id": Field(label, required=True),
    "group": Field(label, required=True),
    **{f"{side}_audio_filepath": Field(label, required=True) for side in SIDES},
    **{f"{side}_text": Field(or_null(text), required=True) for side in SIDES},
    **{f"{side}_duration": Field(or_null(seconds)) for side in SIDES},
    **{f"{side}_sample_rate": Field(or_null(hertz)) for side in SIDES},
    "context_seconds": Field(seconds_or_zero, required=True),
}
