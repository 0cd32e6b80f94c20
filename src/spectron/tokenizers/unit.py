"""Unit tokenizer: an encoder's features, each named by its nearest centroid; further codebooks name what is left.

With one codebook these are the units of GSLM (arXiv:2102.01192). With several it is a residual quantiser
(arXiv:2107.03312, section III.C) whose codebooks k-means has fitted, so that nothing needs training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectron.contracts import SpeechEncoder
from spectron.errors import ConfigError
from spectron.probing import in_eval
from spectron.ranges import CountOrZero, checks_ranges
from spectron.tokenizers.codebooks import read_codebooks
from spectron.tokenizers.tokenizer import SpeechTokenizer, chosen_levels


@checks_ranges
class UnitTokenizer(SpeechTokenizer):
    """Codes of an encoder's features, of any layer that the encoder can give.

    Args:
        encoder: Encoder of the features.
        codebooks: File (safetensors) or folder with ``codebooks`` (Q, K, D), or ``centroids`` (K, D) for units, as
            ``spectron.training.CodebookModule`` fits them.
        levels: Use the first so many codebooks; 0 means all.
        skip_levels: Leave out the first so many of these, which another stage speaks.
        padding_samples: Zeros on both sides of the waveform; the published 25 Hz mHuBERT needs 40.

    Raises:
        ConfigError: if the codebooks cannot be read, are of another width than the features, or are too few.
    """

    codebooks: Tensor

    def __init__(
        self,
        encoder: SpeechEncoder,
        codebooks: str,
        levels: CountOrZero = 0,
        skip_levels: CountOrZero = 0,
        padding_samples: CountOrZero = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.sample_rate_hz, self.rate_hz = encoder.sample_rate_hz, float(encoder.frame_rate_hz)
        self.register_buffer("codebooks", read_codebooks(codebooks))
        width, fitted = self.codebooks.shape[2], len(self.codebooks)
        if width != encoder.output_dim:
            raise ConfigError(
                f"the centroids of {codebooks!r} are {width} wide, but the encoder's features are "
                f"{encoder.output_dim} wide. Use the encoder and layer that they were fitted on",
                key="codebooks",
            )
        self.levels, self.skip_levels = chosen_levels(levels, skip_levels, fitted, codebooks), skip_levels
        self.padding_samples = padding_samples
        self.sizes = (self.codebooks.shape[1],) * (self.levels - skip_levels)
        self.eval()

    def features(self, waveform: Tensor) -> Tensor:
        """Encode one utterance (S,) as features (T, D)."""
        padded = nn.functional.pad(waveform, (self.padding_samples, self.padding_samples))
        with in_eval(self.encoder):
            features, num_steps = self.encoder(padded[None], torch.tensor([len(padded)], device=waveform.device))
        return features[0, : int(num_steps[0])]

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Tokenize one utterance (S,) as codes (T, Q)."""
        if len(waveform) == 0:
            return torch.zeros(0, len(self.sizes), dtype=torch.long, device=waveform.device)
        left, codes = self.features(waveform).float(), []
        for codebook in self.codebooks[: self.levels]:
            code, left = quantised(left, codebook)
            codes.append(code)
        return torch.stack(codes[self.skip_levels :], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the features (..., D) that codes (..., Q) stand for: the sum of their centroids; 0 for padding."""
        books = self.codebooks[self.skip_levels : self.levels]
        each = [book[codes[..., level].clamp(min=0)] for level, book in enumerate(books)]
        return torch.stack(each).sum(0).masked_fill((codes[..., :1] < 0), 0.0)


def quantised(features: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centroid (K, D) of each feature (T, D), as indices (T,), and what it leaves of it (T, D).

    Of equally near centroids it is the first.
    """
    codes = (centroids.square().sum(1) - 2 * features @ centroids.T).argmin(1)
    return codes, features - centroids[codes]
