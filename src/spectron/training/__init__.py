"""Training tasks under Lightning: Spectron, CTC recognisers, language models, vocoders."""

from spectron.training.ctc import CTCModule
from spectron.training.spectron import SpectronModule
from spectron.training.text_lm import TextModule
from spectron.training.vocoding import VocoderModule

__all__ = ["CTCModule", "SpectronModule", "TextModule", "VocoderModule"]
