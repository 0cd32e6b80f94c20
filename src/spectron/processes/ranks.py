"""Decisions of several processes that train or evaluate together: every process gets the same value or the same end.

A process that decides alone, from its files, its data or its signals, leaves the others waiting in a collective that it
never joins. Such a decision is therefore made with one of the functions of this module, which all processes call in the
same order. With a single process they cost nothing.

The values travel over the CPU, in a process group that waits for days: one process may load judges or speak a panel for
longer than the process group of the gradients waits.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

from spectron.errors import EndedByAnother, SpectronError, TrainingError

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=2)


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if _joined() else 0


def world() -> int:
    """Return the number of processes; 1 before they have joined."""
    return distributed.get_world_size() if _joined() else 1


def everyone(value: T) -> list[T]:
    """Return the values of all processes by rank; each process gives its own."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value, group=_Group.current())
    return values


def of_first(work: Callable[[], T]) -> T:
    """Let the first process work while the others wait, and return its result in all of them.

    Raises:
        BaseException: in the first process, whatever ``work`` raises.
        EndedByAnother: in the others, if ``work`` raises.
    """
    if world() == 1:
        return work()
    box: list[Any] = [None, None]
    failure: BaseException | None = None
    if rank() == 0:
        try:
            box[0] = work()
        except BaseException as error:
            failure, box[1] = error, _sendable(error)
    distributed.broadcast_object_list(box, src=0, group=_Group.current())
    if box[1] is not None:
        raise _shown_once(failure, [box[1]])
    return box[0]


@contextmanager
def all_or_none() -> Iterator[None]:
    """End a block in all processes if it fails in one; the block itself must not wait for another process.

    Raises:
        BaseException: in the first process, its own error, otherwise that of the first process that failed.
        EndedByAnother: in the others.
    """
    if world() == 1:
        yield
        return
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
    errors = everyone(None if failure is None else _sendable(failure))
    if any(errors):
        raise _shown_once(failure, errors)


def known_to_all(error: SpectronError) -> Exception:
    """Return what each process raises for an error that all of them have found: only the first one reports it."""
    return error if rank() == 0 else EndedByAnother()


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Group:
    """Process group of the decisions, which is made at the first decision."""

    decisions: Any = None
    made_for: Any = None

    @classmethod
    def current(cls) -> Any:
        """Return the group; all processes call this together."""
        everything = distributed.group.WORLD
        if cls.made_for is not everything:
            cls.decisions, cls.made_for = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT), everything
        return cls.decisions


def _sendable(error: BaseException) -> BaseException:
    """Return an error that another process can raise: the error itself, or its description."""
    described = TrainingError(f"process {rank()} ended with {type(error).__name__}: {error}")
    if not isinstance(error, SpectronError | KeyboardInterrupt):
        return described
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return described
    return error


def _shown_once(own: BaseException | None, errors: list[BaseException | None]) -> BaseException:
    """Return what this process raises: the first one reports the error, and a defect has its traceback where it is."""
    if own is not None and (rank() == 0 or not isinstance(own, SpectronError | KeyboardInterrupt)):
        return own
    return next(error for error in errors if error is not None) if rank() == 0 else EndedByAnother()
