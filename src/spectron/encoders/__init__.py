"""Speech encoders: waveform to feature sequence."""

from spectron.encoders.conformer import ConformerEncoder, ConformerSettings
from spectron.encoders.exported import ExportedEncoder
from spectron.encoders.frame_stack import FrameStackEncoder
from spectron.encoders.pretrained import PretrainedEncoder
from spectron.encoders.spec_augment import SpecAugmentSettings
from spectron.encoders.speechbrain_folder import SpeechBrainEncoder

__all__ = [
    "ConformerEncoder",
    "ConformerSettings",
    "ExportedEncoder",
    "FrameStackEncoder",
    "PretrainedEncoder",
    "SpecAugmentSettings",
    "SpeechBrainEncoder",
]
