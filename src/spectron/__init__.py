"""Spectron: spoken language models from a short YAML.

>>> import spectron
>>> model = spectron.load("mini")
>>> answer = model.continue_speech("question.wav")  # doctest: +SKIP
>>> answer.save("answer.wav")  # doctest: +SKIP

Importing the package loads nothing heavy; each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectron.decoding import Decoding
    from spectron.experiment.loading import load
    from spectron.inference.speaker import Answer, Recording, Speaker

__version__ = "0.1.0"
DISTRIBUTION = "spectron-slm"  # the name that pip knows; the package and the command are called spectron
__all__ = ["Answer", "Decoding", "Recording", "Speaker", "load"]

_HOMES = {
    "Answer": "spectron.inference.speaker",
    "Decoding": "spectron.contracts",
    "Recording": "spectron.inference.speaker",
    "Speaker": "spectron.inference.speaker",
    "load": "spectron.experiment.loading",
}


def __getattr__(name: str) -> Any:
    """Import a name of the interface from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spectron' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
