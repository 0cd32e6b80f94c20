"""Speech encoders: waveform to feature sequence."""

from spectron.encoders.conformer import ConformerEncoder, ConformerSettings
from spectron.encoders.frame_stack import FrameStackEncoder
from spectron.encoders.pretrained import PretrainedEncoder
from spectron.encoders.spec_augment import SpecAugmentSettings

__all__ = ["ConformerEncoder", "ConformerSettings", "FrameStackEncoder", "PretrainedEncoder", "SpecAugmentSettings"]
