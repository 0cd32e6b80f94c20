"""Whether a part does what its contract says: one function a check, for the platform's own parts and for a user's alike."""

from spectron.conformance.examination import examine, malformed
from spectron.conformance.verdict import Verdict

__all__ = ["Verdict", "examine", "malformed"]
