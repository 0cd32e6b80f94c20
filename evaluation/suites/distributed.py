"""Several processes that share an evaluation, as ``torchrun`` starts them; or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import distributed

from spectron.devices import device_called

T = TypeVar("T")
LONGEST_WAIT = timedelta(days=2)  # a process may have that much more to do than another


@dataclass
class Ranks:
    """This process among all: ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Ranks]:
        """Join the others, whom ``torchrun`` names in the environment."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            yield cls()
            return
        distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
        ranks = cls(distributed.get_rank(), world)
        before = getattr(rank_zero_only, "rank", 0)
        rank_zero_only.rank = ranks.rank  # type: ignore[attr-defined]
        try:
            yield ranks
        finally:
            rank_zero_only.rank = before  # type: ignore[attr-defined]
            distributed.destroy_process_group()

    def device(self, name: str | None) -> torch.device:
        """Where this process computes: the device asked for, or a GPU of its own where there are any."""
        if name is None and torch.cuda.is_available():
            name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        return device_called(name)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, value: T) -> T:
        """The first process' value."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]
