"""Conformer on log-mel: Conformer blocks after a convolutional front end that keeps one step in four.

Source: Gulati et al. 2020 (arXiv:2005.08100); see ``conformer_blocks`` for the differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectron.audio.mel import LogMel, MelConfig, padding_mask
from spectron.contracts import SpeechEncoder
from spectron.encoders.conformer_blocks import ConformerBlock, MaskedConvolution, RelativePositions
from spectron.encoders.spec_augment import SpecAugment, SpecAugmentSettings
from spectron.errors import ConfigError
from spectron.ranges import BelowOne, Layers, Size, checks_ranges


@checks_ranges
@dataclass
class ConformerSettings:
    """Size of the Conformer.

    Args:
        width: Width D of its features.
        layers: Blocks.
        heads: Attention heads; they divide ``width``.
        feedforward: Width inside the feed-forward modules.
        kernel: Kernel size of the convolution module in steps, an odd number.
        dropout: Dropout in every block.
    """

    width: Size = 256
    layers: Layers = 6
    heads: Size = 4
    feedforward: Size = 1024
    kernel: Size = 15
    dropout: BelowOne = 0.1

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            message = f"must be even and a multiple of heads, got {self.width} with {self.heads} heads"
            raise ConfigError(message, key="width")
        if self.kernel % 2 == 0:
            raise ConfigError(f"must be odd, got {self.kernel}", key="kernel")


SIZE = ConformerSettings()
MEL = MelConfig(frame_shift_ms=10.0, window_ms=25.0, n_mels=80)
SPEC_AUGMENT = SpecAugmentSettings()


class Subsampling(nn.Module):
    """Two convolutions of stride 2: (B, T, M) to (B, ceil(T / 4), D)."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        channels = max(width // 4, 8)
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(1, channels, 3, stride=2, padding=1), nn.Conv2d(channels, channels, 3, stride=2, padding=1)]
        )
        self.project = nn.Linear(channels * ((bands + 3) // 4), width)

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Subsample (B, T, M) with (B,) valid frames; padding is 0 before each convolution."""
        x, lengths = mel[:, None], num_frames  # (B, C, T, M)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
            lengths = (lengths + 1) // 2
            x = x.masked_fill(padding_mask(lengths, x.shape[2])[:, None, :, None], 0.0)
        return self.project(x.transpose(1, 2).flatten(2)), lengths


class ConformerEncoder(SpeechEncoder):
    """Log-mel, SpecAugment (in training), subsampling by four, Conformer blocks.

    Args:
        conformer: Size of the blocks.
        mel: Spectrogram settings.
        spec_augment: Amount of SpecAugment in training; None disables it.
    """

    def __init__(
        self,
        conformer: ConformerSettings = SIZE,
        mel: MelConfig = MEL,
        spec_augment: SpecAugmentSettings | None = SPEC_AUGMENT,
    ) -> None:
        super().__init__()
        c = conformer
        self.sample_rate_hz = mel.sample_rate_hz
        self.frame_rate_hz = mel.frame_rate_hz / 4
        self.output_dim = c.width
        self.log_mel = LogMel(mel)
        self.spec_augment = SpecAugment(spec_augment) if spec_augment else None
        self.subsampling = Subsampling(mel.n_mels, c.width)
        self.positions = RelativePositions(c.width)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            ConformerBlock(c.width, c.feedforward, c.heads, c.kernel, c.dropout) for _ in range(c.layers)
        )
        # Drawn a second time, so that a seed gives the initial weights with which the reference curves were trained.
        for block in self.blocks:
            block.convolution_module = MaskedConvolution(c.width, c.kernel, c.dropout)
        self.norm = nn.LayerNorm(c.width)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) features and (B,) valid steps."""
        mel, num_frames = self.log_mel(waveform, num_samples)
        mel = normalise(mel, num_frames)
        if self.spec_augment is not None:
            mel = self.spec_augment(mel, num_frames)
        x, num_steps = self.subsampling(mel, num_frames)
        x, positions = self.dropout(x), self.positions(x)
        padding = padding_mask(num_steps, x.shape[1])
        for block in self.blocks:
            x = block(x, positions, padding)
        return self.norm(x).masked_fill(padding[..., None], 0.0), num_steps


def normalise(mel: Tensor, num_frames: Tensor) -> Tensor:
    """Normalise (B, T, M) per recording: mean 0 in every band, standard deviation 1 over all bands; padding stays 0."""
    valid = ~padding_mask(num_frames, mel.shape[1])[..., None]
    count = num_frames[:, None, None].clamp(min=1)
    centred = (mel - (mel * valid).sum(1, keepdim=True) / count) * valid
    deviation = (centred.square().sum((1, 2), keepdim=True) / (count * mel.shape[2])).sqrt()
    return centred / (deviation + 1.0e-3)
