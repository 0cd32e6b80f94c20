"""Results of checks, and the comparison of two outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

FINITE = "clamp the arguments of every division, logarithm and root"


@dataclass
class CheckResult:
    """Result of one check: ``passed`` is None if the check does not apply; ``detail`` states what was measured."""

    name: str
    passed: bool | None
    detail: str


class ContractViolation(Exception):
    """A rule of the contract that the part breaks: what was observed, and the likely cure."""


class DoesNotApply(Exception):
    """The reason why a check does not apply to this part."""


@dataclass
class Trial:
    """A part under examination.

    Args:
        part: The part, in eval mode, on the device to be used.
        fresh: Builds the same part again, from another seed.
        seconds: Length of the recordings for measuring speed.
        answers: What the part gave, by name of the input, for the checks that compare with it.
    """

    part: Any
    fresh: Callable[[], Any]
    seconds: float = 4.0
    answers: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Device of the part."""
        return next((tensor.device for tensor in self.part.state_dict().values()), torch.device("cpu"))


Check = Callable[[Trial], str]


def require(held: bool, seen: str) -> None:
    """Raise a ``ContractViolation`` with the observation ``seen`` unless the rule held."""
    if not held:
        raise ContractViolation(seen)


def require_close(found: Tensor, wanted: Tensor, seen: str) -> float:
    """Return the largest difference of two outputs.

    Raises:
        ContractViolation: with ``seen`` and the difference, if the difference exceeds the rounding error of numbers of
            this size and type.
    """
    require(found.shape == wanted.shape, f"{seen}: {tuple(found.shape)} against {tuple(wanted.shape)}")
    if not wanted.numel():
        return 0.0
    half = any(tensor.is_floating_point() and torch.finfo(tensor.dtype).bits < 32 for tensor in (found, wanted))
    found, wanted = found.detach().float(), wanted.detach().float()
    size = max(1.0, float(wanted.square().mean().sqrt()))
    difference = float((found - wanted).abs().max())
    # A difference of NaN is not close either.
    require(
        difference <= (5e-2 if half else 1e-4) * size,
        f"{seen}: values of size {size:.3g} differ by up to {difference:.3g}",
    )
    return difference
