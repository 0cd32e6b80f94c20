"""Whether a part does what its contract says: one function a check, for the platform's own parts and for a user's alike."""

from spectron.conformance.examination import examine, malformed, register, suite_of
from spectron.conformance.verdict import Check, DoesNotApply, Trial, Verdict, Violation, require, require_close

__all__ = [
    "Check",
    "DoesNotApply",
    "Trial",
    "Verdict",
    "Violation",
    "examine",
    "malformed",
    "register",
    "require",
    "require_close",
    "suite_of",
]
