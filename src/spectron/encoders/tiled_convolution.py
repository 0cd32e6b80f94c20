"""Faster convolutions on a CPU for transformers' larger speech encoders (wav2vec 2.0 and related models)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Output of the widest layer for one tile; of 1 to 16 MB, 4 and 8 were the fastest on two cores.
TILE_BYTES = 4 * 2**20


class TiledConvolutions(nn.Module):
    """Feature encoder of the library in which every convolution has a layer norm; names of the weights stay.

    On a CPU and without gradients, each layer is a product of its weight and the windows of frames, over tiles of time
    that fit into the cache. The library's code copies all frames of a recording before and after each norm.

    Args:
        convolutions: The feature encoder to replace.
    """

    def __init__(self, convolutions: Any) -> None:
        super().__init__()
        self.conv_layers = convolutions.conv_layers

    def forward(self, waveform: Tensor) -> Tensor:
        """Return features (B, C, U) of the waveform (B, S)."""
        if waveform.device.type == "cpu" and not torch.is_grad_enabled():
            return in_tiles(list(self.conv_layers), waveform.contiguous()[..., None]).transpose(1, 2)
        features = waveform[:, None]
        for layer in self.conv_layers:
            features = layer(features)
        return features


def in_tiles(layers: list[Any], frames: Tensor) -> Tensor:
    """Return the output (B, U, C') of the layers for contiguous frames (B, T, C), computed in tiles of U."""
    # The library stores (C', C, K); windows of frames are in memory as (K * C).
    weights = [layer.conv.weight.transpose(1, 2).flatten(1) for layer in layers]
    stride = receptive = widest = 1
    for layer in reversed(layers):
        widest = max(widest, stride * layer.conv.out_channels)
        receptive = (receptive - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
        stride *= layer.conv.stride[0]
    num_steps = (frames.shape[1] - receptive) // stride + 1
    together = max(TILE_BYTES // (len(frames) * widest * frames.element_size()), 1)
    tiles = []
    for begin in range(0, num_steps, together):
        tile = frames[:, begin * stride : (min(begin + together, num_steps) - 1) * stride + receptive]
        for layer, weight in zip(layers, weights, strict=True):
            tile = layer.activation(
                layer.layer_norm(nn.functional.linear(windows(tile, layer.conv), weight, layer.conv.bias))
            )
        tiles.append(tile)
    return torch.cat(tiles, dim=1)


def windows(frames: Tensor, convolution: Any) -> Tensor:
    """Return the input of a convolution at each step, (B, U, K * C) of frames (B, T, C), without a copy."""
    (kernel,), (hop,), channels = convolution.kernel_size, convolution.stride, frames.shape[2]
    num_steps = (frames.shape[1] - kernel) // hop + 1
    return frames.as_strided((len(frames), num_steps, kernel * channels), (frames.stride(0), hop * channels, 1))


def tile_convolutions(model: Any) -> None:
    """Replace the feature encoder of ``model`` if it has layer norms."""
    convolutions = getattr(model, "feature_extractor", None)
    layers = getattr(convolutions, "conv_layers", ())
    if layers and all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in layers):
        model.feature_extractor = TiledConvolutions(convolutions)
