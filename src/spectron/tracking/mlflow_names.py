"""Names as MLflow accepts them: other characters are escaped, and reading restores them.

MLflow refuses a whole batch of metrics, parameters or tags if one name has another character than letters, digits and
``_-. :/``, is no normalised path, or is too long.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

LONGEST = 250  # characters, MLflow's own limit
_UNUSUAL = re.compile(r"[^/\w.\- ]", re.ASCII)  # the colon begins and ends an escape
_ESCAPE = re.compile(r":([0-9a-f]*):")


def escape(name: str) -> str:
    """Return a name that MLflow accepts. Only a name that is too long cannot be restored: its end becomes a hash."""
    escaped = _UNUSUAL.sub(_code, name)
    if not name or posixpath.normpath(escaped) != escaped or escaped[0] in "/.":
        escaped = re.sub(r"[/.]", _code, escaped) or "::"
    if len(escaped) > LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        escaped = f"{escaped[: LONGEST - 20].rstrip('/.:')}-{digest}"
    return escaped


def unescape(name: str) -> str:
    """Return the name that ``escape`` was given."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", name)


def _code(found: re.Match[str]) -> str:
    return f":{ord(found[0]):x}:"
