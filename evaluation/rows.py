"""Rows of a batch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from spectron.batch import SpeechBatch


def select(batch: SpeechBatch, rows: list[int]) -> SpeechBatch:
    """Some rows of a batch, in the order given."""
    taken: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            taken[field.name] = value[rows]
        elif field.name != "skipped" and value:  # an empty list says that the data has no such column
            taken[field.name] = [value[row] for row in rows]
    return replace(batch, **taken)


def unpadded(padded: Tensor, lengths: Tensor) -> list[Tensor]:
    """Rows of a padded tensor (B, L, ...) without their padding."""
    return [row[:length] for row, length in zip(padded, lengths.tolist(), strict=True)]


def with_reference(batch: SpeechBatch) -> SpeechBatch:
    """The rows of a batch that have a recording of what followed."""
    return select(batch, batch.continuation_num_samples.nonzero()[:, 0].tolist())
