"""Blocks of a Conformer with relative positions.

Source: Gulati et al. 2020 (arXiv:2005.08100); relative attention after Dai et al. 2019 (arXiv:1901.02860).
    Parameters have the names
and the arithmetic of speechbrain's blocks, whose weights load here. Two differences from the paper, as in speechbrain:
a layer norm instead of a batch norm in the convolution module, and scores scaled by the square root of the whole width.
One difference from
speechbrain: padding is hidden from the depthwise convolution too, not only from its output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class RelativePositions(nn.Module):
    """Sinusoidal embeddings of the distances between U steps: (1, 2 * U - 1, D), from the most distant past to the
    future.

    Args:
        width: Width D, an even number.
    """

    inv_freq: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        halves = torch.arange(0, width, 2, dtype=torch.float32)
        self.register_buffer("inv_freq", torch.exp(halves * -(math.log(10000.0) / width)))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Embed the distances between the steps of (B, U, D)."""
        angles = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[:, None] * self.inv_freq  # (U, D / 2)
        past = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (U, D), sine and cosine interleaved
        future = torch.stack([angles.sin(), (-angles).cos()], dim=-1).flatten(1)
        return torch.cat([past.flip(0), future[1:]])[None]


class RelativeAttention(nn.Module):
    """Self-attention whose scores also depend on the distance between two steps.

    Args:
        width: Width D.
        heads: Attention heads, which divide ``width``.
        dropout: Dropout of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.dropout_att = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(self.head_width, heads))
        self.pos_bias_v = nn.Parameter(torch.empty(self.head_width, heads))
        for weight in (self.in_proj_weight, self.pos_bias_u, self.pos_bias_v):
            nn.init.xavier_uniform_(weight)
        self.scale = 1 / math.sqrt(width)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """Attend from every step of (B, U, D) to those that are not ``padding`` (B, U); ``positions`` (1, 2 * U - 1,
        D).
        """
        packed = functional.linear(x, self.in_proj_weight).unflatten(2, (self.heads, 3 * self.head_width))
        query, key, value = packed.chunk(3, dim=-1)  # (B, U, H, D / H)
        distance = self.linear_pos(positions).unflatten(2, (self.heads, self.head_width))  # (1, 2 * U - 1, H, D / H)
        # A view, not a transpose, of (D / H, H): the layout of speechbrain's weights.
        content = (query + self.pos_bias_u.view(self.heads, self.head_width)).transpose(1, 2)
        place = (query + self.pos_bias_v.view(self.heads, self.head_width)).transpose(1, 2)
        scores = torch.matmul(content * self.scale, key.permute(0, 2, 3, 1))  # (B, H, U, U)
        scores = scores + shift(torch.matmul(place * self.scale, distance.permute(0, 2, 3, 1)))
        hidden = padding[:, None, None]
        weights = functional.softmax(scores.masked_fill(hidden, -math.inf), dim=-1, dtype=torch.float32)
        # A row that is all padding is NaN so far.
        weights = self.dropout_att(weights).masked_fill(hidden, 0.0)
        return self.out_proj(torch.matmul(weights, value.transpose(1, 2)).transpose(1, 2).flatten(2))


def shift(scores: Tensor) -> Tensor:
    """Turn scores by distance (B, H, U, 2 * U - 1) into scores by step (B, H, U, U): row i is shifted by i."""
    batch, heads, steps, distances = scores.shape
    padded = functional.pad(scores, (1, 0)).view(batch, heads, distances + 1, steps)
    return padded[:, :, 1:].view(batch, heads, steps, distances)[..., : distances // 2 + 1]


class MaskedConvolution(nn.Module):
    """Gated pointwise and depthwise convolution, with padding hidden from the depthwise one.

    Args:
        width: Width D.
        kernel: Steps that the depthwise convolution covers, an odd number.
        dropout: Dropout of the output.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.bottleneck = nn.Sequential(nn.Conv1d(width, 2 * width, kernel_size=1), nn.GLU(dim=1))
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.after_conv = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Convolve (B, U, D); ``padding`` (B, U) is True at padded steps."""
        x = self.bottleneck(self.layer_norm(x).transpose(1, 2)).masked_fill(padding[:, None], 0.0)
        return self.after_conv(self.conv(x).transpose(1, 2))


class FeedForward(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Dropout(dropout), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, U, D)."""
        return self.ffn(x)


class Norm(nn.Module):
    """A layer norm under the name that speechbrain gives its weights, ``norm``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, U, D)."""
        return self.norm(x)


class ConformerBlock(nn.Module):
    """Half a feed-forward module, attention, convolution, and the other half.

    Args:
        width: Width D.
        inner: Width inside the feed-forward modules.
        heads: Attention heads.
        kernel: Steps that the convolution covers.
        dropout: Dropout in all four modules.
    """

    def __init__(self, width: int, inner: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(width), FeedForward(width, inner, dropout), nn.Dropout(dropout))

        self.mha_layer = RelativeAttention(width, heads, dropout)
        self.convolution_module = MaskedConvolution(width, kernel, dropout)
        self.ffn_module1, self.ffn_module2 = feed_forward(), feed_forward()
        self.norm1, self.norm2 = Norm(width), Norm(width)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """Transform (B, U, D) with ``positions`` (1, 2 * U - 1, D); ``padding`` (B, U) is True at padded steps."""
        x = x + 0.5 * self.ffn_module1(x)
        x = x + self.mha_layer(self.norm1(x), positions, padding)
        x = x + self.convolution_module(x, padding)
        return self.norm2(x + 0.5 * self.ffn_module2(x))
