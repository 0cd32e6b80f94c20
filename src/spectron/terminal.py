"""Text for a terminal: control characters of names, texts and files are shown, and never obeyed.

A terminal obeys the control characters of a text: an escape sequence clears the screen or changes the window's title, a
carriage return hides what was printed before, and a bidirectional override reverses the letters of a name. Ids, names,
texts of manifests, file names and metadata of checkpoints come from other people, so that everything that Spectron
prints passes through this module.
"""

from __future__ import annotations

import logging
import sys
import traceback
import unicodedata
import warnings
from types import TracebackType
from typing import TextIO

# Control characters, format characters such as bidirectional overrides, halves of surrogate pairs, line separators.
OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # letters of Persian and of emoji need them


def visible(text: str) -> str:
    r"""Return a text as one line in which every control character is written as in Python, such as ``\x1b``."""
    return "".join(_escaped(character) for character in text)


def visible_lines(text: str) -> str:
    """Return a text whose newlines are kept, and whose other control characters are visible."""
    return "\n".join(map(visible, text.split("\n")))


def say(*lines: object, error: bool = False) -> None:
    """Print each argument as one line, to standard output or as an ``error`` to standard error."""
    shown = "".join(visible(str(line)) + "\n" for line in lines)
    print(shown, end="", flush=True, file=sys.stderr if error else sys.stdout)


def protect_terminal() -> None:
    """Let warnings, log messages and tracebacks of this process pass through this module, those of libraries too."""
    logging.setLogRecordFactory(_Record)
    warnings.showwarning = _show_warning  # not `formatwarning`, which Lightning replaces
    sys.excepthook = _show_traceback


def _escaped(character: str) -> str:
    if character.isprintable() or character in JOINERS or unicodedata.category(character) not in OBEYED:
        return character
    return character.encode("unicode_escape").decode("ascii")


class _Record(logging.LogRecord):
    """Log record with a message without control characters, for the handlers of all libraries."""

    def getMessage(self) -> str:
        """Return the message with the arguments filled in."""
        return visible_lines(super().getMessage())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(
        visible_lines(warnings.formatwarning(message, category, filename, lineno, line)),
        end="",
        file=file or sys.stderr,
    )


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    shown = "".join(traceback.format_exception(kind, error, trace))
    say(*shown.rstrip("\n").split("\n"), error=True)
