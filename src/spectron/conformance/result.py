"""What a check says, and how two outputs are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class CheckResult:
    """One line of an examination: ``passed`` is None where the check does not apply; ``detail`` says what was measured or seen."""

    name: str
    passed: bool | None
    detail: str


class ContractViolation(Exception):
    """What a part does against its contract: what was seen, and the likely cure."""


class DoesNotApply(Exception):
    """Why a check has nothing to look at in this part."""


@dataclass
class Trial:
    """A part under examination.

    Args:
        part: In eval mode, on the device at hand.
        fresh: Builds the same part anew, from another seed.
        seconds: Length of the recordings that its speed is measured on.
    """

    part: Any
    fresh: Callable[[], Any]
    seconds: float = 4.0

    @property
    def device(self) -> torch.device:
        """Where the part is."""
        return next((tensor.device for tensor in self.part.state_dict().values()), torch.device("cpu"))


Check = Callable[[Trial], str]
FINITE = "clamp whatever it divides by or takes a logarithm or root of"


def require(held: bool, seen: str) -> None:
    """Raise a ``ContractViolation`` that says what was seen unless the rule held."""
    if not held:
        raise ContractViolation(seen)


def require_close(found: Tensor, wanted: Tensor, seen: str) -> float:
    """The largest difference of two outputs.

    Raises:
        ContractViolation: ``seen`` and the difference, where it is more than rounding can make of numbers of their size and type.
    """
    require(found.shape == wanted.shape, f"{seen}: {tuple(found.shape)} against {tuple(wanted.shape)}")
    if not wanted.numel():
        return 0.0
    half = min(torch.finfo(tensor.dtype).bits for tensor in (found, wanted)) < 32
    found, wanted = found.detach().float(), wanted.detach().float()
    size = max(1.0, float(wanted.square().mean().sqrt()))
    difference = float((found - wanted).abs().max())
    # A difference that is no number is not close either.
    require(
        difference <= (5e-2 if half else 1e-4) * size,
        f"{seen}: values of size {size:.3g} differ by up to {difference:.3g}",
    )
    return difference
