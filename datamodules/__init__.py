"""Data modules of speech and text: manifests, splitting, collation, sampling, and the synthetic corpus."""

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
    """Import a data module on first use: the processes of the synthesizer import this package but no data module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
