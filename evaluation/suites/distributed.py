"""Processes of a distributed evaluation, as ``torchrun`` starts them, or a single process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from spectron.devices import device_called

T = TypeVar("T")
LONGEST_WAIT = timedelta(
    days=2
)  # processes share batches, not seconds of speech: one may finish much later than another


@dataclass
class Ranks:
    """Number of this process, ``rank`` (from 0), and number of processes, ``world``."""

    rank: int = 0
    world: int = 1

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Ranks]:
        """Join the process group that ``torchrun`` describes in the environment, and leave it at the end.

        Lightning reads the same ``RANK`` when it is imported, so its ``rank_zero_only`` functions agree with ``rank``.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            yield cls()
            return
        distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
        try:
            yield cls(distributed.get_rank(), world)
        finally:
            distributed.destroy_process_group()

    def device(self, name: str | None) -> torch.device:
        """Return the device of this process: the named one, otherwise a GPU by local rank, or the CPU without GPUs."""
        if name is None and torch.cuda.is_available():
            name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        return device_called(name)

    def barrier(self) -> None:
        """Wait until every process has reached this point."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, value: T) -> T:
        """Return the value of process 0 in every process."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]
