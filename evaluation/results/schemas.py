"""Schemas of the files of an evaluation: what every reader of a stored one may rely on."""

from __future__ import annotations

from spectron.evaluation.results.summary import FORMAT
from spectron.stored_json import (
    anything,
    count,
    fields,
    flag,
    list_of,
    mapping,
    name,
    not_negative,
    number,
    one_of,
    or_null,
    row,
    text,
)

CURE = "Copy the folder again, or evaluate again: `spectron evaluate` writes no such file"
PLAN_CURE = "Start a new evaluation, without --resume"

MEASURE = fields(
    {"value": or_null(number)},
    {
        "unit": text,
        "higher_is_better": or_null(flag),
        "count": count,
        "low": or_null(number),
        "high": or_null(number),
        "skipped": count,
        "skipped_because": text,
        "weight": mapping(not_negative),
        "among_all": flag,
    },
)
SUMMARY = fields(
    {"measures": mapping(MEASURE)},
    {
        "items": count,
        "failures": list_of(fields({"id": text, "reason": text})),
        "seconds_of_speech": or_null(not_negative),
    },
)
TASK = fields(
    {"fingerprint": text, "data": fields({"items": count}), "systems": mapping(SUMMARY)},
    {"curve": or_null(fields({"name": text, "value": number}, {"unit": text}))},
)
SYSTEM = fields({"reference": text, "class": text, "weights_sha256": or_null(text)}, {"run": text, "step": count})
JUDGE = fields({"title": text}, {"weights_sha256": or_null(text), "missing": text})
TIMES = fields({}, {"started": text, "seconds": or_null(not_negative)})
RESULTS_FILE = fields(
    {
        "format": one_of(FORMAT),
        "suite": text,
        "system": SYSTEM,
        "code": fields({"version": text, "commit": or_null(text), "changed": flag}),
        "seed": count,
        "normalizer_version": anything,
        "judges": mapping(or_null(JUDGE)),
        "settings": mapping(anything),
        "tasks": mapping(TASK),
    },
    {"times": TIMES},
)
ITEM_LINE = fields(
    {"task": text, "system": text, "id": text},
    {
        "split": text,
        "speaker": text,
        "prompt_text": text,
        "transcript": or_null(text),
        "continuation_text": or_null(text),
        "text": text,
        "heard": or_null(text),
        "reference_text": text,
        "answers": list_of(text),
        "stopped": flag,
        "prompt_seconds": not_negative,
        "generated_seconds": not_negative,
        "reference_seconds": not_negative,
        "audio": mapping(name),
        "parts": mapping(or_null(row(number, not_negative))),
        "failure": or_null(text),
    },
)
PLAN_FILE = mapping(anything)
BATCH_LINE = fields({"key": row(text, text, count), "lines": list_of(ITEM_LINE), "sha256": text})
