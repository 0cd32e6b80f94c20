"""Complete writing and reading of text files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectron.errors import DataError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file that replaces ``path`` once it is complete; an interrupted write changes nothing."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Return whether there is a file; False for a name that no file can have, such as one of 5,000 letters."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_texts(path: Path) -> list[str]:
    """Read the non-empty texts of a text file or of a ``.jsonl`` manifest.

    Raises:
        DataError: if the file is missing, not UTF-8 or without text, or a manifest line is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the text file {path} ({error}): correct the path, or set SPECTRON_DATA", file=path
        ) from error
    if path.suffix == ".jsonl":
        try:
            lines = [json.loads(line).get("text") or "" for line in lines if line.strip()]
        except (json.JSONDecodeError, AttributeError) as error:
            raise DataError(f"{path} has a line that is not a JSON object: {error}", file=path) from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise DataError(f"the text file {path} holds no text: name another", file=path)
    return lines
