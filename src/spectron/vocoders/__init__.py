"""Vocoders: log-mel to waveform."""

from spectron.vocoders.griffin_lim import GriffinLimVocoder
from spectron.vocoders.hifigan import HiFiGANVocoder
from spectron.vocoders.mel_bridge import MelFormat
from spectron.vocoders.vocos import VocosVocoder
from spectron.vocoders.vocos_network import VocosSettings

__all__ = ["GriffinLimVocoder", "HiFiGANVocoder", "MelFormat", "VocosSettings", "VocosVocoder"]
