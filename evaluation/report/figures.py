"""Numbers as a page shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from spectron.tracking.measure import number

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither direction is better"}
MOST_DECIMALS = 4
NO_VALUE = "\N{EN DASH}"


def decimals(values: Iterable[float | None]) -> int:
    """Decimals with which the largest of some values has three digits that count, so that they line up under each other."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), MOST_DECIMALS)


def figure(value: float | None, places: int | None = None, sign: bool = False) -> str:
    """A value with so many decimals, with a true minus; a dash for none.

    Args:
        value: The value.
        places: Decimals; by default as many as its size asks for, without zeros at the end.
        sign: Whether a value above zero has a plus.
    """
    finite = value if value is not None and math.isfinite(value) else None
    shown = number(finite, decimals([value]) if places is None else places, sign, missing=NO_VALUE)
    if places is None and "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return shown.replace("-", "\N{MINUS SIGN}")
