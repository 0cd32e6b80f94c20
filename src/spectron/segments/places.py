"""Places of a segment: its positions as a reader sees them, with the loss that falls on each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """One position.

    Args:
        reads: The input at this position in words, such as a token; empty if there are none.
        predicts: What the position has to predict; empty if nothing.
        recording: Recording of which the position reads or predicts a part, if any.
        begin: Second at which this part begins.
        end: Second at which it ends.
    """

    reads: str = ""
    predicts: str = ""
    recording: Literal["", "prompt", "continuation"] = ""
    begin: float = 0.0
    end: float = 0.0


@dataclass
class Places:
    """Positions of a stretch.

    Args:
        rows: The positions of each row, padding included, B lists of L; empty if a segment does not describe them.
        losses: Losses at each position (B, L) by name, 0 at padding. The sum is the total of the segment's loss of this
            name; a loss that is no sum over positions is left out.
    """

    rows: list[list[Place]] = field(default_factory=list)
    losses: dict[str, Tensor] = field(default_factory=dict)
