"""Losses: text cross-entropy; spectrogram regression with time and frequency deltas; naming what is being said."""

from spectron.losses.alignment import NAMINGS, spoken_tokens
from spectron.losses.cross_entropy import text_cross_entropy
from spectron.losses.spectrogram import SpectrogramLoss, SpectrogramLossSettings

__all__ = ["NAMINGS", "SpectrogramLoss", "SpectrogramLossSettings", "spoken_tokens", "text_cross_entropy"]
