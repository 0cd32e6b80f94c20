"""Speech and text for training and validation: manifests, prompt/continuation splitting, collation, sampling, the synthetic corpus."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ContinuationDataModule": "continuation",
    "LineSource": "lines",
    "PairsDataModule": "pairs",
    "RecordingsDataModule": "recordings",
    "SpokenQADataModule": "spoken_qa",
    "TextDataModule": "text_lines",
    "TextFiles": "lines",
    "TextMix": "lines",
    "TranscribedSpeechDataModule": "transcribed",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a data module when it is first named: the synthesizer's processes import this package and need none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
