"""Requests to stop a training: Ctrl-C, SIGTERM, and the signal by which SLURM announces the end of a job.

A signal only leaves a note. The training looks at it before each batch and ends in all processes at the same place.
Lightning's handlers, which this replaces, let each process decide alone, broadcast from within the handler, and write a
checkpoint of their own into the current folder under SLURM, which a later training of another name would start from.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities.exceptions import SIGTERMException

from spectron.processes.ranks import everyone
from spectron.training.slurm import REQUEUE_SIGNAL, slurm_job


class Stopping(_SignalConnector):
    """Handler of the signals that stop a trainer.

    Args:
        trainer: The trainer, whose own handlers it replaces until the training ends.

    Attributes:
        asked: First signal that asked to stop.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        self.asked: signal.Signals | None = None
        self._process = os.getpid()
        self._stops_at_once = False
        trainer._signal_connector = self

    def register_signal_handlers(self) -> None:
        """Handle the signals; Lightning calls this before data workers are forked, and ``teardown`` at the end.

        The workers inherit the handlers and stay alive until the checkpoint is saved.
        """
        numbers = [signal.SIGINT, signal.SIGTERM, *([REQUEUE_SIGNAL] if slurm_job() else [])]
        self._original_handlers = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            self._register_signal(number, self._note)

    def asked_anywhere(self) -> bool:
        """Return whether a process was asked to stop; all processes call this together and note the same request."""
        self.asked = next((asked for asked in everyone(self.asked) if asked is not None), None)
        return self.asked is not None

    def stop(self) -> BaseException:
        """Return the exception that ends the training, as Lightning expects it."""
        return KeyboardInterrupt() if self.asked == signal.SIGINT else SIGTERMException()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a request end a block at any place, for long work that changes nothing which a checkpoint holds."""
        self._stops_at_once = True
        try:
            if self.asked is not None:
                raise self.stop()
            yield
        finally:
            self._stops_at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        second_ctrl_c = number == signal.SIGINT and self.asked == signal.SIGINT
        if self.asked is None:
            self.asked = signal.Signals(number)
            if os.getpid() == self._process and getattr(rank_zero_only, "rank", 0) == 0:
                # Not with print or a logger: the signal may have interrupted one of them.
                with suppress(OSError):
                    os.write(2, b"\nStopping after this step; a second Ctrl-C stops at once.\n")
        if second_ctrl_c or self._stops_at_once:
            raise self.stop()


@contextmanager
def stoppable_at_once(trainer: Trainer) -> Iterator[None]:
    """Let a request to stop the trainer end a block at any place; the block must not change the training."""
    handler = trainer._signal_connector
    if isinstance(handler, Stopping):
        with handler.at_once():
            yield
    else:
        yield


def signal_that_stopped(trainer: Trainer) -> signal.Signals | None:
    """Return the signal that asked the trainer to stop, if any."""
    return getattr(trainer._signal_connector, "asked", None)
