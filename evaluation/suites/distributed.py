"""Processes of a distributed evaluation, as ``torchrun`` starts them, or a single process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from spectron.devices import device_called
from spectron.processes.ranks import LONGEST_WAIT, world


@contextmanager
def joined() -> Iterator[None]:
    """Join the process group that ``torchrun`` describes in the environment, and leave it at the end.

    Processes that have trained together stay in their group. Lightning reads the same ``RANK`` when it is imported, so
    its ``rank_zero_only`` functions agree with ``ranks.rank``.
    """
    if world() > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Processes share batches, not seconds of speech: one may finish much later than another.
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def own_device(name: str | None) -> torch.device:
    """Return the device of this process: the named one, otherwise a GPU by local rank, or the CPU without GPUs."""
    if name is None and torch.cuda.is_available():
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return device_called(name)
