"""Damage to stored JSON files: wrong values, missing keys, broken lines and bytes, and something else than a file."""

import json
import random
import shutil
from pathlib import Path

from mutations import mutated_bytes, mutated_text, with_changes

HUGE = ("9" * 400, "9" * 5000, "1e999", "NaN", "-Infinity", "1e308", '"\\ud800"', "[" * 3000, '{"a": 1, "a": 2}')


def mutated_json(value, draw: random.Random) -> str:
    """Return the JSON of a value with a few changes of its values, keys or text."""
    changed = with_changes({"": value}, draw)
    text = json.dumps(changed.get("", changed), ensure_ascii=draw.random() < 0.5)
    kind = draw.random()
    if kind < 0.15:
        numbers = [place for place, letter in enumerate(text) if letter.isdigit()] or [0]
        place = draw.choice(numbers)
        return text[:place] + draw.choice(HUGE) + text[place + 1 :]
    return mutated_text(text, draw) if kind < 0.3 else text


def mutate_stored(path: Path, draw: random.Random) -> None:
    """Damage a JSON file, or a file of JSON lines, in place."""
    content = path.read_bytes()
    kind = draw.choice(["value", "value", "value", "value", "bytes", "bytes", "whole"])
    if kind == "bytes":
        path.write_bytes(mutated_bytes(content, draw))
    elif kind == "whole":
        marked = [mark + content for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\0")]
        odd = draw.choice([b"", b"\n", *marked, None, "folder"])
        if isinstance(odd, bytes):
            path.write_bytes(odd)
            return
        path.unlink()
        if odd:
            path.mkdir()
    elif path.suffix == ".jsonl":
        lines = content.decode().split("\n")
        place = draw.randrange(max(len(lines) - 1, 1))
        lines[place] = mutated_json(json.loads(lines[place]), draw)
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(mutated_json(json.loads(content), draw).encode("utf-8", "surrogatepass"))


def restored(path: Path, content: bytes) -> None:
    """Write the content of a file again, whatever is in its place."""
    if path.is_dir():
        shutil.rmtree(path)
    path.write_bytes(content)
