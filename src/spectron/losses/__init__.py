"""Losses: text cross-entropy, spectrogram regression with time and frequency deltas, alignment of speech and text."""

from spectron.losses.alignment import ALIGNMENT_LOSSES, frame_level_targets
from spectron.losses.cross_entropy import text_cross_entropy, token_cross_entropy
from spectron.losses.spectrogram import SpectrogramLoss, SpectrogramLossSettings

__all__ = [
    "ALIGNMENT_LOSSES",
    "SpectrogramLoss",
    "SpectrogramLossSettings",
    "frame_level_targets",
    "text_cross_entropy",
    "token_cross_entropy",
]
