"""Replacements for modules of transformers' speech encoders whose output depends on padding; names of the weights stay.

Two modules depend on padding, with and without an attention mask. The first convolution of the base models (wav2vec
2.0, HuBERT, WavLM, UniSpeech) is followed by a group norm over time. The positions of Data2Vec are a stack of
convolutions with a norm and a bias between them, after which padding is no longer 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spectron.audio.mel import padding_mask


class Lengths:
    """Valid samples and steps of the current batch, shared by an encoder and its modules that need them."""

    num_samples: Tensor
    num_steps: Tensor


class MaskedConvolutions(nn.Module):
    """Convolutional feature encoder whose group norm has statistics of valid frames only.

    Args:
        convolutions: The feature encoder to replace.
        lengths: Lengths of the current batch.
    """

    def __init__(self, convolutions: Any, lengths: Lengths) -> None:
        super().__init__()
        self.conv_layers = convolutions.conv_layers
        self.lengths = lengths
        self.gradient_checkpointing = False  # transformers looks for this name

    def forward(self, waveform: Tensor) -> Tensor:
        """Return features (B, C, U) of the waveform (B, S)."""
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
        """Apply the first convolution and its norm: (B, S) to (B, C, T)."""
        first = self.conv_layers[0]
        return first.activation(masked_group_norm(first.conv(waveform[:, None]), num_frames, first.layer_norm))


class MaskedPositions(nn.Module):
    """Stack of positional convolutions that sets padding to 0 after each.

    Args:
        positions: The positional embedding to replace.
        lengths: Lengths of the current batch.
    """

    def __init__(self, positions: Any, lengths: Lengths) -> None:
        super().__init__()
        self.layers = positions.layers
        self.lengths = lengths

    def forward(self, hidden: Tensor) -> Tensor:
        """Return position embeddings (B, U, D) of (B, U, D)."""
        padding = padding_mask(self.lengths.num_steps, hidden.shape[1])[:, None]
        hidden = hidden.transpose(1, 2)
        for layer in self.layers:
            hidden = layer(hidden).masked_fill(padding, 0.0)
        return hidden.transpose(1, 2)


def masked_group_norm(features: Tensor, num_frames: Tensor, norm: Any) -> Tensor:
    """Apply a group norm with one channel per group to (B, C, T), with statistics of (B,) valid frames."""
    valid = ~padding_mask(num_frames, features.shape[2])[:, None]
    count = num_frames[:, None, None].clamp(min=1)
    values = features.float()
    centred = values - (values * valid).sum(2, keepdim=True) / count
    variance = (centred * valid).square().sum(2, keepdim=True) / count
    scaled = centred * torch.rsqrt(variance + norm.eps)
    return (scaled * norm.weight.float()[:, None] + norm.bias.float()[:, None]).to(features.dtype)


def hide_padding(model: Any, lengths: Lengths) -> None:
    """Replace the modules of ``model`` whose output depends on padding."""
    convolutions = getattr(model, "feature_extractor", None)
    if isinstance(getattr(getattr(convolutions, "conv_layers", [None])[0], "layer_norm", None), nn.GroupNorm):
        model.feature_extractor = MaskedConvolutions(convolutions, lengths)
    positions = getattr(getattr(model, "encoder", None), "pos_conv_embed", None)
    if hasattr(positions, "layers"):
        model.encoder.pos_conv_embed = MaskedPositions(positions, lengths)
