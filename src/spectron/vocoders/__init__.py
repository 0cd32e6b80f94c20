"""Vocoders: log-mel to waveform."""

from spectron.vocoders.griffin_lim import GriffinLimVocoder

__all__ = ["GriffinLimVocoder"]
