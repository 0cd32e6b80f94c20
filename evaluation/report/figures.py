"""Number format of reports, comparisons and studies."""

from __future__ import annotations

import math
from collections.abc import Iterable

from spectron.tracking.measure import number

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither direction is better"}
MOST_DECIMALS = 4
NO_VALUE = "\N{EN DASH}"


def decimals(values: Iterable[float | None]) -> int:
    """Return the number of decimals that gives the largest value three significant digits, for aligned columns."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return 3 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), MOST_DECIMALS)


def figure(value: float | None, places: int | None = None, sign: bool = False) -> str:
    """Return a value as text with a typographic minus; a missing or infinite value is a dash.

    Args:
        value: The value.
        places: Number of decimals; None means three significant digits without trailing zeros.
        sign: Whether a positive value gets a plus.
    """
    finite = value if value is not None and math.isfinite(value) else None
    shown = number(finite, decimals([value]) if places is None else places, sign, missing=NO_VALUE)
    if places is None and "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return shown.replace("-", "\N{MINUS SIGN}")
