"""Store of codes on disk: one SQLite file for each tokenizer, shared by runs and processes."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

import numpy

log = logging.getLogger(__name__)
FOLDER = "SPECTRON_CACHE"  # environment variable
TIMEOUT_SECONDS = 60.0


def cache_folder() -> Path:
    """Return the folder of what can be computed again."""
    own = os.environ.get(FOLDER)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spectron"


class CodeStore:
    """Codes by the digest of their waveform. A store that cannot be written is announced once, and then does without.

    Args:
        fingerprint: What makes the codes; another fingerprint has another file.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.path = cache_folder() / "codes" / f"{fingerprint}.sqlite"
        self.process: int | None = None
        self.database: sqlite3.Connection | None = None
        self.broken = False

    def get(self, key: bytes) -> numpy.ndarray | None:
        """Return codes (T, Q), or None if they are not known."""
        found = self._do("SELECT books, codes FROM codes WHERE key = ?", (key,))
        return numpy.frombuffer(found[1], numpy.int32).reshape(-1, found[0]).copy() if found else None

    def put(self, key: bytes, codes: numpy.ndarray) -> None:
        """Keep codes (T, Q)."""
        self._do("INSERT OR IGNORE INTO codes VALUES (?, ?, ?)", (key, codes.shape[1], codes.tobytes()))

    def _do(self, command: str, values: tuple[object, ...]) -> tuple[int, bytes] | None:
        if self.broken:
            return None
        try:
            return self._open().execute(command, values).fetchone()
        except (OSError, sqlite3.Error) as error:
            self.broken = True
            log.warning(
                "%s cannot be used, so codes are computed again each time: %s. Set %s to another folder",
                self.path,
                error,
                FOLDER,
            )
            return None

    def _open(self) -> sqlite3.Connection:
        """Return this process's connection; a child process must not use its parent's."""
        if self.database is None or self.process != os.getpid():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(
                self.path, timeout=TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=OFF")
            self.database.execute("CREATE TABLE IF NOT EXISTS codes (key BLOB PRIMARY KEY, books INTEGER, codes BLOB)")
            self.process = os.getpid()
        return self.database

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the fingerprint alone: each copy has a connection of its own."""
        return CodeStore, (self.fingerprint,)
