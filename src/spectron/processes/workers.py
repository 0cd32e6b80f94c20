"""Worker processes, and the error if the operating system ends one: it ends the largest process if memory is short."""

from __future__ import annotations

import copy
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from spectron.errors import WorkerError

_workers: list[BaseProcess] = []  # of the loaders, since the last `naming_killed_workers` began


def watched_context() -> BaseContext:
    """Return the usual way to start processes; the processes that it starts are watched."""
    usual: Any = multiprocessing.get_context()
    watched: Any = copy.copy(usual)

    def start(*arguments: Any, **settings: Any) -> BaseProcess:
        process: BaseProcess = usual.Process(*arguments, **settings)
        _workers.append(process)
        return process

    watched.Process = start
    return cast(BaseContext, watched)


@contextmanager
def naming_killed_workers(how_to_continue: str) -> Iterator[None]:
    """Replace the error that torch raises for a killed worker of a loader.

    torch raises a plain ``RuntimeError`` at any place of the main process, or an error of the broken connection. The
    exit codes of the workers identify it.

    Args:
        how_to_continue: Sentence about what to do after the cure.

    Raises:
        WorkerError: if a signal ended a watched worker.
    """
    _workers.clear()
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        killed = [worker for worker in _workers if ended_by_system(worker.exitcode)]
        if not killed:
            raise
        raise WorkerError(
            f"the operating system ended worker process {killed[0].pid} of {len(_workers)} that read data (signal "
            f"{-(killed[0].exitcode or 0)}), probably because memory was short. Lower num_workers, to 0 if need be, or "
            f"batch_seconds. {how_to_continue}",
            key="data.init_args.batching.num_workers",
        ) from error


@contextmanager
def naming_broken_pool(workers: int) -> Iterator[None]:
    """Replace the error of a pool of ``workers`` processes of which one ended before its work was done.

    Raises:
        WorkerError: if the pool is broken.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise WorkerError(
            f"one of {workers} worker processes ended before its work was done. The operating system probably ended it "
            "because memory was short. Free memory or lower --workers, and repeat the command",
            key="--workers",
        ) from error


def ended_by_system(exit_code: int | None) -> bool:
    """Return whether a signal ended a process that nobody asked to end: torch ends its workers with SIGTERM."""
    return exit_code is not None and exit_code < 0 and exit_code not in (-signal.SIGTERM, -signal.SIGINT)
