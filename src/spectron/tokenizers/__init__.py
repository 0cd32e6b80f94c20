"""Speech tokenizers: waveform to codes, that is to units of one vocabulary or to codes of several codebooks."""

from spectron.tokenizers.codec import CodecTokenizer
from spectron.tokenizers.tokenizer import SpeechTokenizer
from spectron.tokenizers.unit import UnitTokenizer

__all__ = ["CodecTokenizer", "SpeechTokenizer", "UnitTokenizer"]
