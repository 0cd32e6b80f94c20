"""Processes of the operating system: they end with their parent, and on a request to end as on Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT = "SPECTRON_PARENT"  # environment variable: id of the parent, and the signal that ends the child
LOOK_SECONDS = 0.5
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # environment variables, in the order in which Lightning reads them


def environment_rank() -> int:
    """Return the number of this process, from 0, as its launcher states it, before the processes have joined."""
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0)


def environment_of_child(ending: signal.Signals = signal.SIGTERM) -> dict[str, str]:
    """Return the environment variables for a child process that must get the signal ``ending`` when this one ends."""
    return {PARENT: f"{os.getpid()} {ending.value}"}


def end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed, if the parent asked for that."""
    asked = os.environ.pop(PARENT, "")  # not for the children of this process
    if asked:
        parent, ending = map(int, asked.split())
        watch_parent(parent, signal.Signals(ending))


def watch_parent(parent: int, ending: signal.Signals = signal.SIGTERM) -> None:
    """Send ``ending`` to this process when its parent, the process ``parent``, has ended.

    A thread looks for the parent, because only Linux lets the kernel do that.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), ending)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise ``KeyboardInterrupt`` within a block, so that what is cleaned up after Ctrl-C is cleaned up.

    Further SIGTERMs do not disturb the cleaning up, and only a further Ctrl-C ends it.
    """
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread handle signals
        yield
        return
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if number == signal.SIGINT or len(asked) == 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
