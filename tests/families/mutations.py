"""Seeded mutations of YAML documents and of files, for tests that a reader gives a result or an error of its own."""

import copy
import math
import random

import yaml

DEEP = 0
for _ in range(45):
    DEEP = [DEEP]

# Values of all types, at the edges of their ranges and beyond, and texts that mean something to one of the readers.
ODD = [
    None, True, False, -1, 0, 1, 2, 13, 2**31, 2**63 - 1, -(2**63), 0.0, -0.5, 1.5, 1e-300, 1e300, math.nan, math.inf,
    "", " ", "x", ".", "..", "/", "~", "-", "a/b/c", "/none/such", "null", "nan", "1e5", "017", "🎵", "\u202e", "cpu",
    "\x1b[31m", "x" * 5000, "x" * 5000 + ".py:Y", "${a}", "${", "}", "${oc.env:NO_SUCH_VARIABLE}", "${.}", "${..x}",
    "${seed}", "???", "{}", "[", "${here}", "%s", [], {}, [[]], [None], {"": None}, {"a": {"b": [1, {"c": 2}]}}, 
    [1, "a", None], DEEP,
    {"class_path": None}, {"class_path": 5}, {"class_path": "os.system"}, {"class_path": "torch.nn.Linear"},
    {"class_path": "x.py:Y"}, {"class_path": ".py:Y"}, {"class_path": "a..b"}, {"class_path": "."}, {"init_args": {}},
    {"class_path": "spectron.encoders.FrameStackEncoder"}, {"class_path": "builtins.dict"},
    {"class_path": "typing.Any"}, {"class_path": "spectron.vocoders.GriffinLimVocoder", "init_args": [1]},
    "spectron.encoders.FrameStackEncoder", "spectron.training.SpectronModule", "lightning.LightningModule",
    "torch.Tensor",
]  # fmt: skip


def places(tree, path=()):
    """Yield the path of every value in nested dicts and lists, except the whole."""
    if path:
        yield path
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]


def mutated_document(document: dict, draw: random.Random) -> str:
    """Return the YAML of a document with one to three changes of its values, keys or text."""
    text = yaml.safe_dump(with_changes(document, draw), sort_keys=False, allow_unicode=True)
    return mutated_text(text, draw) if draw.random() < 0.3 else text


def with_changes(document: dict, draw: random.Random) -> dict:
    """Return a copy of a document with one to three changes of its values or keys."""
    document = copy.deepcopy(document)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        _change(document, draw)
    return document


def _change(document: dict, draw: random.Random) -> None:
    """Replace, remove, rename, wrap or swap one value, in place."""
    found = list(places(document))
    if not found:
        return
    path = draw.choice(found)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key, value = path[-1], holder[path[-1]]
    kind = draw.choice(["odd", "odd", "odd", "odd", "remove", "rename", "wrap", "swap", "number"])
    if kind == "odd":
        holder[key] = copy.deepcopy(draw.choice(ODD))
    elif kind == "remove":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        name = draw.choice([f"{key}x", str(key)[1:], "class_path", "init_args", "extends", "", "a.b", "🎵"])
        holder[name] = holder.pop(key)
    elif kind == "wrap":
        holder[key] = draw.choice([[value], {key if isinstance(key, str) else "x": value}, str(value)])
    elif kind == "swap":
        other = document
        for step in draw.choice(found):
            other = other[step]
        holder[key] = copy.deepcopy(other)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = draw.choice([-value, value * 1000, value / 7, -1, 0, value + 1, float(value), 10**12])


def mutated_text(text: str, draw: random.Random) -> str:
    """Return a text with one change of its characters or lines."""
    at = draw.randrange(len(text) + 1)
    lines = text.splitlines(keepends=True)
    line = draw.randrange(len(lines)) if lines else 0
    kind = draw.choice(["insert", "delete", "cut", "repeat", "drop", "indent", "replace"])
    if kind == "insert":
        odd = [
            "\0",
            "\t",
            "\n",
            ":",
            ": ",
            "- ",
            "[",
            "{",
            "&a ",
            "*a",
            "!!x ",
            "|",
            ">",
            "%",
            "@",
            "'",
            '"',
            "\u2028",
            "\ufeff",
            "#",
        ]
        return text[:at] + draw.choice(odd) + text[at:]
    if kind == "delete":
        return text[:at] + text[at + 1 :]
    if kind == "cut":
        return text[:at]
    if kind == "replace":
        return text[:at] + chr(draw.randrange(1, 0x300)) + text[at + 1 :]
    if kind == "repeat":
        lines[line:line] = lines[line : line + 1]
    elif kind == "drop":
        del lines[line : line + 1]
    else:
        lines[line : line + 1] = ["  " + each for each in lines[line : line + 1]]
    return "".join(lines)


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """Return a file's content with flipped, removed, added or repeated bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        at = draw.randrange(max(len(changed), 1))
        kind = draw.choice(["flip", "flip", "flip", "cut", "remove", "insert", "zero", "repeat"])
        if kind == "flip" and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == "cut":
            del changed[at:]
        elif kind == "remove":
            del changed[at : at + draw.choice([1, 4, 100])]
        elif kind == "insert":
            changed[at:at] = draw.randbytes(draw.choice([1, 4, 100]))
        elif kind == "zero":
            changed[at : at + 16] = bytes(len(changed[at : at + 16]))
        else:
            changed[at:at] = changed[at : at + 64]
    return bytes(changed)
