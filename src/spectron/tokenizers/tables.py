"""Tables of vectors of codes, one table for each codebook."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def small_table(rows: int, width: int) -> nn.Embedding:
    """Return an embedding of small random vectors, as language models have them."""
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.02)
    return table


def embedded(tables: Iterable[nn.Module], codes: Tensor) -> Tensor:
    """Embed codes (..., Q) as (..., D), the sum over codebooks."""
    return torch.stack([table(codes[..., book]) for book, table in enumerate(tables)]).sum(0)
