"""Reading of text files: one reader of text, one of lines, one of JSON, one of JSON lines.

Every file is UTF-8, with or without a byte order mark, and its lines end in LF, CRLF or CR. No other character ends a
line: U+2028, which ``str.splitlines`` takes for a line break, is part of a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spectron.errors import DataError

BYTE_ORDER_MARK = "\ufeff"  # also within a text, where files were joined
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class JsonLine(NamedTuple):
    """Object of a line, and the place of the line: ``file:number``."""

    where: str
    content: dict[str, Any]


def missing_file(path: Path) -> DataError:
    """Return the error for a missing data file."""
    # The absolute path: relative paths start at the current folder, which is often not the folder of the YAML.
    return DataError(
        f"there is no file {path.absolute()}: correct the path (relative paths start at the current folder, and "
        "`${here}` is the folder of the YAML), or set SPECTRON_DATA to the folder with your corpora",
        file=path,
    )


def read_text(path: str | Path) -> str:
    """Return the content of a text file, its lines separated by LF.

    Raises:
        DataError: if the file is missing, unreadable or not UTF-8; the message names line and byte.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except (OSError, ValueError) as error:  # ValueError: the path contains the character 0
        raise DataError(f"cannot read {path} ({error}): name a readable text file", file=path) from error
    if content.startswith(UTF_16_MARKS):
        raise DataError(f"{path} is UTF-16 text: save it as UTF-8", file=path)
    try:
        text = content.decode("utf-8").replace(BYTE_ORDER_MARK, "")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line} is not UTF-8 text: byte {error.start} of the file is 0x{content[error.start]:02x}. Save "
            "the file as UTF-8",
            file=path,
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise DataError(
            f"{path}:{line} contains the character 0: it is no text, or not UTF-8. Save it as UTF-8", file=path
        )
    return text


def read_lines(path: str | Path) -> list[str]:
    """Return all lines of a text file without their ends, empty lines included: line n is at index n - 1.

    Raises:
        DataError: see ``read_text``.
    """
    return read_text(path).removesuffix("\n").split("\n")


def parse_json(text: str, where: str, file: Path | None = None) -> Any:
    """Return the content of a JSON text, restricted to what every JSON parser reads alike.

    Args:
        text: The JSON text.
        where: Its place, for messages.
        file: Its file, if any.

    Raises:
        DataError: if the text is not JSON, repeats a key of an object, or contains NaN, Infinity or half a character.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
        if "\\ud" in text.lower():  # an escaped half of a surrogate pair, which no UTF-8 file can store
            json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{where} is not JSON ({error.msg} at {place}): correct or remove it", file=file) from error
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply: correct or remove it", file=file) from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} contains half of a surrogate pair (\\ud...): write the character", file=file
        ) from error
    except ValueError as error:  # of the two functions below, or a number with thousands of digits
        raise DataError(f"{where} is not JSON ({error}): correct or remove it", file=file) from error
    return content


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: see ``read_text`` and ``parse_json``.
    """
    return parse_json(read_text(path), str(path), Path(path))


def read_json_lines(path: str | Path) -> Iterator[JsonLine]:
    """Yield the objects of a file with one JSON object per line; empty lines are skipped.

    Raises:
        DataError: if a line is no JSON object; see also ``read_text`` and ``parse_json``.
    """
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            where = f"{path}:{number}"
            content = parse_json(line, where, Path(path))
            if not isinstance(content, dict):
                raise DataError(f'{where} is no JSON object: write a line such as {{"id": ...}}', file=path)
            yield JsonLine(where, content)


def read_texts(path: str | Path) -> list[str]:
    """Return the non-empty texts of a text file, one per line, or of a ``.jsonl`` manifest.

    Raises:
        DataError: if there is no text, or the ``text`` of a manifest's line is neither text nor null; see also
            ``read_text``.
    """
    path = Path(path)
    lines = [_text_of(line, path) for line in read_json_lines(path)] if path.suffix == ".jsonl" else read_lines(path)
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise DataError(f"the text file {path} holds no text: name another", file=path)
    return texts


def _text_of(line: JsonLine, path: Path) -> str:
    text = line.content.get("text")
    if not isinstance(text, str | None):
        raise DataError(f"{line.where} has {text!r} as 'text', which should be text or null", file=path)
    return text or ""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return content
