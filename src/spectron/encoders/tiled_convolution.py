"""The convolutions of transformers' larger speech encoders (wav2vec 2.0 and its kin), quicker on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# What the widest layer may write for one tile; of 1 to 16 MB, 4 and 8 were the quickest on two cores.
TILE_BYTES = 4 * 2**20


class TiledConvolutions(nn.Module):
    """The library's feature encoder where every convolution has a layer norm; names of the weights stay.

    On a CPU, and where no gradient is asked for, each layer is a product of its weight and the windows of frames, over tiles of time that
    stay in the cache. The library's way lays all frames of a recording out anew before and after each norm.

    Args:
        convolutions: The feature encoder that it stands in for.
    """

    def __init__(self, convolutions: Any) -> None:
        super().__init__()
        self.conv_layers = convolutions.conv_layers

    def forward(self, waveform: Tensor) -> Tensor:
        """Features (B, C, U) of the waveform (B, S)."""
        if waveform.device.type == "cpu" and not torch.is_grad_enabled():
            return in_tiles(list(self.conv_layers), waveform.contiguous()[..., None]).transpose(1, 2)
        features = waveform[:, None]
        for layer in self.conv_layers:
            features = layer(features)
        return features


def in_tiles(layers: list[Any], frames: Tensor) -> Tensor:
    """The layers' output (B, U, C') for contiguous frames (B, T, C), tile after tile of U."""
    # The library keeps (C', C, K); windows of frames lie in memory as (K * C).
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
    """What a convolution sees at each of its steps: (B, U, K * C) of frames (B, T, C), without copying them."""
    (kernel,), (hop,), channels = convolution.kernel_size, convolution.stride, frames.shape[2]
    num_steps = (frames.shape[1] - kernel) // hop + 1
    return frames.as_strided((len(frames), num_steps, kernel * channels), (frames.stride(0), hop * channels, 1))


def tile_convolutions(model: Any) -> None:
    """Replace the feature encoder within ``model`` where it has layer norms."""
    convolutions = getattr(model, "feature_extractor", None)
    layers = getattr(convolutions, "conv_layers", ())
    if layers and all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in layers):
        model.feature_extractor = TiledConvolutions(convolutions)
