"""Complete writing of files, their presence, and files that one process writes at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spectron.errors import LockedError

PART = ".part"  # suffix of a temporary file

log = logging.getLogger(__name__)


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for a path that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or contains the character 0
        return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary file that replaces ``path`` once it is complete; an interrupted write changes nothing.

    The temporary file has another name in every process and is locked while it is written: an unlocked one is left from
    a process that was killed (``remove_abandoned``).
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with part.open("xb") as held:
        with suppress(OSError):  # on a file system without locks nothing is ever taken for abandoned
            fcntl.flock(held, fcntl.LOCK_SH)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def remove_abandoned(folder: Path, names: str = "**/*") -> None:
    """Delete the temporary files in a folder that no process writes any more.

    Args:
        folder: The folder.
        names: Pattern of the files that they were to replace; by default all, also in subfolders.
    """
    for part in folder.glob(f"{names}.*{PART}"):
        try:
            with part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
        except OSError:  # locked, or already gone
            continue


class Lock:
    """Lock on a file that one process holds until it releases the lock or ends.

    Data workers, which are forks of a process, do not hold its lock: they may outlive a killed process for seconds.

    Args:
        path: File of the lock, which is made and stays. It names the holder.

    Raises:
        LockedError: if another process holds the lock, or this one in another place.
    """

    _held: set[Path] = set()  # noqa: RUF012 - the system's lock is between processes, this set within one

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if self.path in self._held:
            raise LockedError("this process already holds it", file=path)
        self._file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                self._file.seek(0)
                holder = self._file.read().strip()
                self._file.close()
                raise LockedError(f"{holder or 'another process'} holds it", file=path) from error
            log.warning("%s cannot be locked (%s): nothing keeps a second process from writing here", path, error)
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
        self._held.add(self.path)

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        self._held.discard(self.path)
        self._file.close()
