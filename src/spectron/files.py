"""Complete writing of files, and their presence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for a path that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or contains the character 0
        return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file that replaces ``path`` once it is complete; an interrupted write changes nothing."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
