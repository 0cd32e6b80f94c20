"""Digests of exported weights, so that a damaged copy is not taken for the model.

An export has a file ``weights.sha256`` in each folder with weights, in the format of ``sha256sum``: the command
``sha256sum -c weights.sha256`` checks the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from spectron.errors import CheckpointError
from spectron.files import written_whole

FILE = "weights.sha256"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>[^/\n]+)")


def write_digests(files: Iterable[Path]) -> list[Path]:
    """Write the digests of files of weights, one list in each of their folders; return the lists."""
    lists: dict[Path, list[str]] = {}
    for file in sorted(files):
        lists.setdefault(file.parent / FILE, []).append(f"{_digest(file)}  {file.name}\n")
    for path, lines in lists.items():
        with written_whole(path) as part:
            part.write_text("".join(lines), encoding="utf-8")
    return list(lists)


def require_intact(path: Path, key: str = "") -> None:
    """Compare a file of weights with its digest, if its folder has digests.

    Raises:
        CheckpointError: with this key, if the digest differs, or the list is damaged or does not name the file.
    """
    listed = path.parent / FILE
    if not listed.is_file():
        return
    cure = f"Copy or export the folder again; if you changed the weights yourself, remove {FILE}"
    lines = [LINE.fullmatch(line) for line in listed.read_text(encoding="utf-8", errors="replace").splitlines()]
    digests = {line["name"]: line["digest"] for line in lines if line is not None}
    if None in lines or path.name not in digests:
        what = f"has no digest of {path.name}" if None not in lines else "is damaged"
        raise CheckpointError(f"{listed} {what}. {cure}", key=key, file=listed)
    if _digest(path) != digests[path.name]:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is not the one in {FILE}, written with it. {cure}", key=key, file=path
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
