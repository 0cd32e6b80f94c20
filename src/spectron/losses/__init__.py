"""Losses: text cross-entropy; spectrogram regression with time and frequency deltas."""

from spectron.losses.spectrogram import SpectrogramLoss, SpectrogramLossSettings
from spectron.losses.text import text_cross_entropy

__all__ = ["SpectrogramLoss", "SpectrogramLossSettings", "text_cross_entropy"]
