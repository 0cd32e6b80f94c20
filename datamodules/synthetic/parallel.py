"""Parallel synthesis with one process per core, and a progress bar for terminals and log files."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import torch

from spectron.errors import ConfigError
from spectron.processes.children import watch_parent
from spectron.processes.workers import naming_broken_pool
from spectron.terminal import visible

Progress = Callable[[int, int], None]
Utterance = TypeVar("Utterance")
Spoken = TypeVar("Spoken")


def in_processes(
    speak: Callable[[Utterance], Spoken],
    utterances: Sequence[Utterance],
    progress: Progress | None = None,
    workers: int | None = None,
) -> Iterator[Spoken]:
    """Yield the result of ``speak`` for each utterance in order.

    Args:
        speak: A function that can be pickled.
        utterances: The utterances.
        progress: Function that receives the number of finished utterances and of all.
        workers: Number of processes; 0 speaks in this process. By default one per CPU core.

    Raises:
        ConfigError: if ``workers`` is negative.
        WorkerError: if a process ended before its work was done.
    """
    for done, spoken in enumerate(_each(speak, utterances, workers), 1):
        yield spoken
        if progress:
            progress(done, len(utterances))


def _each(
    speak: Callable[[Utterance], Spoken], utterances: Sequence[Utterance], workers: int | None
) -> Iterator[Spoken]:
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 0:
        raise ConfigError(f"must be at least 0, got {workers}", key="--workers")
    if workers == 0:
        yield from map(speak, utterances)
        return
    # Processes, because the synthesizer is not thread-safe; spawned, because a fork with torch threads can hang.
    spawned = get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawned, initializer=_begin, initargs=(os.getpid(),))
    with naming_broken_pool(workers), pool:
        yield from pool.map(speak, utterances, chunksize=16)


def _begin(parent: int) -> None:
    """Prepare a worker, which otherwise would wait for work forever after its parent was killed."""
    watch_parent(parent, signal.SIGKILL)
    torch.set_num_threads(1)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """Show a progress bar if the work takes more than a second; yield the function that updates it."""
    from tqdm.auto import tqdm

    pause = 1.0 if sys.stderr.isatty() else 10.0  # in a file every update adds a line
    with tqdm(desc=visible(what), unit=" utterances", mininterval=pause, delay=1.0) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
