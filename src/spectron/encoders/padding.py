"""Modules of transformers' speech encoders that look at padding, replaced by ones that do not; names of the weights stay.

Two of them do, attention mask or not. The first convolution of the base models (wav2vec 2.0, HuBERT, WavLM, UniSpeech) is followed
by a group norm over time. Data2Vec's positions are a stack of convolutions with a norm and a bias between them, after which padding
is no longer 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spectron.audio.mel import padding_mask


class Lengths:
    """Valid samples and steps of the batch at hand, shared by an encoder and the modules within it that have to know."""

    num_samples: Tensor
    num_steps: Tensor


class MaskedConvolutions(nn.Module):
    """The convolutional feature encoder, the statistics of its group norm taken over valid frames only.

    Args:
        convolutions: The feature encoder that it stands in for.
        lengths: Where the lengths of the batch are found.
    """

    def __init__(self, convolutions: Any, lengths: Lengths) -> None:
        super().__init__()
        self.conv_layers = convolutions.conv_layers
        self.lengths = lengths
        self.gradient_checkpointing = False  # transformers looks for this name

    def forward(self, waveform: Tensor) -> Tensor:
        """Features (B, C, U) of the waveform (B, S)."""
        first = self.conv_layers[0]
        stride, kernel = first.conv.stride[0], first.conv.kernel_size[0]
        num_frames = (self.lengths.num_samples - kernel).div(stride, rounding_mode="floor") + 1
        if self.gradient_checkpointing and self.training:
            features = checkpoint(self.begin, waveform, num_frames, use_reentrant=False)
        else:
            features = self.begin(waveform, num_frames)
        for layer in self.conv_layers[1:]:
            features = layer(features)
        return features

    def begin(self, waveform: Tensor, num_frames: Tensor) -> Tensor:
        """The first convolution with its norm: (B, S) to (B, C, T)."""
        first = self.conv_layers[0]
        return first.activation(masked_group_norm(first.conv(waveform[:, None]), num_frames, first.layer_norm))


class MaskedPositions(nn.Module):
    """A stack of positional convolutions, padding put back to 0 after each.

    Args:
        positions: The positional embedding that it stands in for.
        lengths: Where the lengths of the batch are found.
    """

    def __init__(self, positions: Any, lengths: Lengths) -> None:
        super().__init__()
        self.layers = positions.layers
        self.lengths = lengths

    def forward(self, hidden: Tensor) -> Tensor:
        """Position embeddings (B, U, D) of (B, U, D)."""
        padding = padding_mask(self.lengths.num_steps, hidden.shape[1])[:, None]
        hidden = hidden.transpose(1, 2)
        for layer in self.layers:
            hidden = layer(hidden).masked_fill(padding, 0.0)
        return hidden.transpose(1, 2)


def masked_group_norm(features: Tensor, num_frames: Tensor, norm: Any) -> Tensor:
    """A group norm with one channel a group of (B, C, T), its statistics those of (B,) valid frames."""
    valid = ~padding_mask(num_frames, features.shape[2])[:, None]
    count = num_frames[:, None, None].clamp(min=1)
    values = features.float()
    centred = values - (values * valid).sum(2, keepdim=True) / count
    variance = (centred * valid).square().sum(2, keepdim=True) / count
    scaled = centred * torch.rsqrt(variance + norm.eps)
    return (scaled * norm.weight.float()[:, None] + norm.bias.float()[:, None]).to(features.dtype)


def hide_padding(model: Any, lengths: Lengths) -> None:
    """Replace, within ``model``, the modules that look at padding."""
    convolutions = getattr(model, "feature_extractor", None)
    if isinstance(getattr(getattr(convolutions, "conv_layers", [None])[0], "layer_norm", None), nn.GroupNorm):
        model.feature_extractor = MaskedConvolutions(convolutions, lengths)
    positions = getattr(getattr(model, "encoder", None), "pos_conv_embed", None)
    if hasattr(positions, "layers"):
        model.encoder.pos_conv_embed = MaskedPositions(positions, lengths)
