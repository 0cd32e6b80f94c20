"""Damage to manifests: wrong values, missing fields, broken lines and bytes."""

import json
import random

VALUES = (
    *(None, True, 0, -1, 5, 1e-9, 1e9, 10**400, float("nan"), float("inf"), "", " ", ".", "a\0b", "x" * 300, "\ud800"),
    *("\u2028", "\ufeffhello", "</s>", "../..", "u0.flac", [], {}, [[]], ["."], ["a", 3], [["a", 0.5]], {"a": [1]}),
    *([["a", 0.0, 0.5], ["b", 0.2, 0.1]], [["a", 300, 800]], [["a", float("nan"), 1.0]], [["", 0, 1]], [[1, 0, 1]]),
)


def mutated_line(line: dict, rng: random.Random) -> str:
    """Return a line of a manifest with a damaged value, field or byte."""
    line = json.loads(json.dumps(line))
    kind = rng.randrange(6)
    name = rng.choice(sorted(line))
    if kind <= 2:
        line[name] = rng.choice(VALUES)
    elif kind == 3:
        del line[name]
    elif kind == 4 and (words := next((line[key] for key in ("words", "answer_words") if line.get(key)), None)):
        rng.choice(words)[rng.randrange(3)] = rng.choice(VALUES)
    text = json.dumps(line, ensure_ascii=rng.random() < 0.5)
    if kind == 5:
        place = rng.randrange(len(text))
        text = (
            text[:place] + rng.choice(('"', "{", "[" * 5000, "\\", "\0", "\ufeff", "9" * 5000, "")) + text[place + 1 :]
        )
    return text


def mutate_manifest(lines: list[dict], rng: random.Random) -> bytes:
    """Return the content of a manifest in which one line, or some bytes, are damaged."""
    damaged = rng.randrange(len(lines))
    texts = [mutated_line(line, rng) if i == damaged else json.dumps(line) for i, line in enumerate(lines)]
    ends = rng.choice(("\n", "\n", "\r\n", "\n\n"))
    content = bytearray(ends.join([*texts, ""]).encode("utf-8", "surrogatepass"))
    if rng.random() < 0.15:
        content[rng.randrange(len(content))] = rng.randrange(256)
    if rng.random() < 0.1:
        content = bytearray(rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\n"))) + content
    return bytes(content)
