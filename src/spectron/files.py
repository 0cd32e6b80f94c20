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

from spectron.errors import LockedError, MemoryExhaustedError, SpectronError, WriteError

PART = ".part"  # suffix of a temporary file
# What a user can do about errors of the system that say more about the disk than about the program.
CURES = {
    errno.ENOSPC: "Make room on this disk, or choose a folder on another one",
    errno.EDQUOT: "Your quota of this disk is used up: remove files of yours, or choose a folder on another disk",
    errno.EFBIG: "The system limits the size of files (ulimit -f): raise the limit, or choose a folder on another disk",
    errno.EIO: "The disk or the network to it fails: choose a folder on another one",
    errno.EROFS: "Choose a writable folder",
}

log = logging.getLogger(__name__)


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for a path that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or contains the character 0
        return False


def machine_error(error: BaseException | None) -> SpectronError | None:
    """Return the error to report for one that a full or failing disk, or too little memory, has caused.

    Args:
        error: An error, which may have another one as its cause.

    Returns:
        None if it has no such cause: then it is a defect of the program.
    """
    while error is not None:
        if isinstance(error, WriteError | MemoryExhaustedError):
            return error
        if isinstance(error, OSError) and error.errno in CURES:
            return write_error(error, error.filename or "a file")
        # By name: torch, which has an error of its own, takes seconds to import.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            reason = (str(error).splitlines() or [""])[0]
            return MemoryExhaustedError(
                f"the memory does not suffice{f' ({reason})' if reason else ''}. End other programs, take smaller "
                "batches or shorter recordings, or a machine with more memory"
            )
        error = error.__cause__ or error.__context__
    return None


def write_error(error: BaseException, path: str | Path) -> WriteError:
    """Return the error to report for one that occurred while a file was written, with its cure."""
    number = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    cure = CURES.get(number or 0, "Make room if the disk is full, or choose a writable folder")
    return WriteError(f"cannot write {path} ({reason}). {cure}", file=path)


@contextmanager
def writing(path: Path, *errors: type[Exception]) -> Iterator[Path]:
    """Give a path, and turn errors of the system, and of a library, that occur while it is written.

    Args:
        path: The file, or a folder.
        errors: Kinds of errors that a library raises if it cannot write.

    Raises:
        WriteError: with the file that the system names, otherwise with ``path``.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield path
    except SpectronError:
        raise
    except kinds as error:
        named = error.filename if isinstance(error, OSError) and path.is_dir() else None
        raise write_error(error, named or path) from error


@contextmanager
def written_whole(path: Path, *errors: type[Exception]) -> Iterator[Path]:
    """Give a temporary file that replaces ``path`` once it is complete; an interrupted write changes nothing.

    The temporary file has another name in every process and is locked while it is written: an unlocked one is left from
    a process that was killed (``remove_abandoned``).

    Args:
        path: The file.
        errors: Kinds of errors that a library raises if it cannot write.

    Raises:
        WriteError: if the file cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with writing(path, *errors), part.open("xb") as held:
        with suppress(OSError):  # on a file system without locks nothing is ever taken for abandoned
            fcntl.flock(held, fcntl.LOCK_SH)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and make its folder; half of a surrogate pair becomes a question mark.

    Raises:
        WriteError: if it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")


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
