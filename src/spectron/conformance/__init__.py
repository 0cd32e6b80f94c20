"""Checks of parts against their contracts, the same for the platform's parts and for a user's."""

from spectron.conformance.result import (
    Check,
    CheckResult,
    ContractViolation,
    DoesNotApply,
    Trial,
    require,
    require_close,
)
from spectron.conformance.runner import examine, malformed, register, suite_of

__all__ = [
    "Check",
    "CheckResult",
    "ContractViolation",
    "DoesNotApply",
    "Trial",
    "examine",
    "malformed",
    "register",
    "require",
    "require_close",
    "suite_of",
]
