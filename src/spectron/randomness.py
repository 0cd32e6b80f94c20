"""Randomness that belongs to a row or to a step, never to the batch around it or to the history before it."""

from __future__ import annotations

import hashlib
import random

import numpy
import torch
from torch import Tensor


def seed_of(*parts: object) -> int:
    """Return a 63-bit seed of printable parts, the same on every machine, run and process."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (all devices), like Lightning's function."""
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


class RowRandom:
    """One generator per row, seeded by the row's id: a batch of N gives the same samples as N batches of one.

    Numbers are drawn on the CPU: every device then sees the same ones.
    """

    def __init__(self, seed: int, ids: list[str]) -> None:
        self.generators = [torch.Generator().manual_seed(seed_of(seed, row)) for row in ids]

    def uniform(self, *shape: int, like: Tensor) -> Tensor:
        """Draw uniform numbers in [0, 1) of shape (B, *shape) on the device and of the type of ``like``."""
        return torch.stack([torch.rand(shape, generator=generator) for generator in self.generators]).to(like)

    def normal(self, *shape: int, like: Tensor) -> Tensor:
        """Draw standard normal numbers of shape (B, *shape), on the device and of the type of ``like``."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators]).to(like)
