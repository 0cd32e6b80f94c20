"""Training tasks under Lightning: spoken language models, recognisers, language models, vocoders, codebooks."""

from spectron.training.ctc import CTCModule
from spectron.training.spectron import SpectronModule
from spectron.training.text_lm import TextModule
from spectron.training.tokenizing import CodebookModule, CodesToMelModule
from spectron.training.vocoding import VocoderModule

__all__ = ["CTCModule", "CodebookModule", "CodesToMelModule", "SpectronModule", "TextModule", "VocoderModule"]
