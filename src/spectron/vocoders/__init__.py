"""Vocoders: frames of speech, spectrograms or codes, to waveform."""

from spectron.vocoders.code_mel import CentroidMel, CodesToMel, CodeVocoder, UnitToMel
from spectron.vocoders.codec import CodecVocoder
from spectron.vocoders.griffin_lim import GriffinLimVocoder
from spectron.vocoders.hifigan import HiFiGANVocoder
from spectron.vocoders.mel_bridge import MelFormat
from spectron.vocoders.unit_hifigan import UnitHiFiGANVocoder
from spectron.vocoders.vocos import VocosVocoder
from spectron.vocoders.vocos_network import VocosSettings

__all__ = [
    "CentroidMel",
    "CodeVocoder",
    "CodecVocoder",
    "CodesToMel",
    "GriffinLimVocoder",
    "HiFiGANVocoder",
    "MelFormat",
    "UnitHiFiGANVocoder",
    "UnitToMel",
    "VocosSettings",
    "VocosVocoder",
]
