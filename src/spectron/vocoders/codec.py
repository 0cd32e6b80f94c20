"""Vocoder of codec codes: the decoder of the codec that made them."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.audio.codes import CodeFormat
from spectron.batch import unpadded
from spectron.contracts import Vocoder
from spectron.errors import ConfigError
from spectron.tokenizers import CodecTokenizer
from spectron.tokenizers.tokenizer import Outside, require_tokenizer_of


class CodecVocoder(Vocoder):
    """Decoder of an audio codec. Rows are decoded one by one, because its convolutions reach beyond the end of a row.

    Args:
        format: Format of the speech head (supplied by the platform).
        tokenizer: Tokenizer of the codes.

    Raises:
        ConfigError: if the tokenizer is not the head's, or leaves out the first codebooks.
    """

    takes = CodeFormat
    format: CodeFormat

    def __init__(self, format: CodeFormat, tokenizer: CodecTokenizer) -> None:
        super().__init__(format)
        require_tokenizer_of(tokenizer, format, "this codec")
        if tokenizer.skip_levels:
            raise ConfigError(
                f"the tokenizer leaves out the first {tokenizer.skip_levels} codebooks, and a codec cannot speak "
                "without them. Set its skip_levels to 0",
                key="tokenizer",
            )
        self.outside = Outside(tokenizer)

    def forward(self, codes: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Decode codes (B, T, Q) with (B,) valid frames as a waveform (B, S) and (B,) samples.

        Raises:
            DataError: naming a code that its codebook does not have.
        """
        self.format.require_within(codes, num_frames)
        tokenizer = self.outside.on(codes.device)
        with torch.autocast(codes.device.type, enabled=False):
            rows = [tokenizer.decode(row) for row in unpadded(codes, num_frames)]
        num_samples = torch.tensor([len(row) for row in rows], device=codes.device)
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), num_samples
