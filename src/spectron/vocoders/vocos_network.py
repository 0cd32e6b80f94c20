"""Network of a Vocos: an optional draft by Griffin-Lim, ConvNeXt blocks over frames, and an inverse STFT.

Module names are those of the published weights; padded frames are masked in every convolution and in the overlap-add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import MelConfig, padding_mask
from spectron.errors import ConfigError
from spectron.ranges import Layers, Range, Size, checks_ranges

LARGEST_MAGNITUDE = 1.0e2  # as published: keeps the exponential of an untrained network from overflowing
SMALLEST_MAGNITUDE = 1.0e-6  # the phase of 0 has no gradient
MOMENTUM = 0.9 / 1.9  # of the fast variant of Griffin-Lim, as torchaudio has it


@checks_ranges
@dataclass
class VocosSettings:
    """Size of a Vocos; the defaults are the published 24 kHz model's.

    Args:
        width: Channels of the ConvNeXt blocks.
        layers: Blocks.
        feedforward: Channels inside a block.
        kernel: Frames in the kernel of a block's convolution, an odd number.
        draft_rounds: Iterations of Griffin-Lim for a draft that the network improves; 0, as published: none.

    Raises:
        ConfigError: if ``kernel`` is even.
    """

    width: Size = 512
    layers: Layers = 8
    feedforward: Size = 1536
    kernel: Size = 7
    draft_rounds: Annotated[int, Range(0, 1000)] = 0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"must be odd, got {self.kernel}", key="kernel")


class ConvNeXtBlock(nn.Module):
    """Residual block: depthwise convolution over frames, then a two-layer network per frame with learned scale."""

    def __init__(self, settings: VocosSettings) -> None:
        super().__init__()
        width, kernel = settings.width, settings.kernel
        self.dwconv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, settings.feedforward)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(settings.feedforward, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / settings.layers))

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Transform frames (B, D, T); ``padding`` (B, 1, T) is True at padded frames."""
        y = self.dwconv(x.masked_fill(padding, 0.0)).transpose(1, 2)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.transpose(1, 2)


class Backbone(nn.Module):
    """Backbone: log-mel (B, M, T) to features (B, T, D)."""

    def __init__(self, bands: int, settings: VocosSettings) -> None:
        super().__init__()
        self.embed = nn.Conv1d(bands, settings.width, settings.kernel, padding=settings.kernel // 2)
        self.norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(settings) for _ in range(settings.layers))
        self.final_layer_norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.apply(_initialise)

    def forward(self, mel: Tensor, padding: Tensor, more: Tensor | None = None) -> Tensor:
        """Compute features; ``padding`` (B, 1, T) is True at padding, ``more`` (B, T, D) is added to the input."""
        x = self.embed(mel.masked_fill(padding, 0.0))
        x = x if more is None else x + more.transpose(1, 2)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x, padding)
        return self.final_layer_norm(x.transpose(1, 2))


class InverseSTFTHead(nn.Module):
    """Output head: features (B, T, D) to magnitude and phase of frames, or to changes of a draft, to a waveform."""

    def __init__(self, mel: MelConfig, settings: VocosSettings) -> None:
        super().__init__()
        self.frames = Frames(mel)
        self.out = nn.Linear(settings.width, mel.fft_size + 2)
        _initialise(self.out)
        if settings.draft_rounds:
            nn.init.zeros_(self.out.weight)  # an untrained network keeps the draft

    def forward(self, features: Tensor, draft: Tensor | None, padding: Tensor) -> Tensor:
        """Compute the waveform (B, T * hop).

        ``draft`` (B, T, F) are spectra to change; ``padding`` (B, T) is True at padded frames.
        """
        magnitude, phase = self.out(features).float().chunk(2, dim=-1)  # (B, T, F)
        spectra = torch.polar(magnitude.exp().clamp(max=LARGEST_MAGNITUDE), phase)
        return self.frames.join(spectra if draft is None else draft * spectra, padding)


class Draft(nn.Module):
    """Draft of the waveform by fast Griffin-Lim (Perraudin et al. 2013), and its features for the network."""

    inverse: Tensor

    def __init__(self, mel: MelConfig, settings: VocosSettings) -> None:
        super().__init__()
        self.rounds = settings.draft_rounds
        self.frames = Frames(mel)
        # Least squares from bands to linear frequencies, as for ``GriffinLimVocoder``.
        self.register_buffer("inverse", torch.linalg.pinv(mel.filter_bank()), persistent=False)  # (M, F)
        self.see = nn.Linear(5 * (mel.fft_size // 2 + 1), settings.width)
        _initialise(self.see)

    @torch.no_grad()
    def spectra(self, mel: Tensor, padding: Tensor) -> Tensor:
        """Estimate the spectra (B, T, F) of a waveform with this log-mel (B, T, M); ``padding`` (B, T)."""
        magnitude = (mel.float().exp() @ self.inverse).clamp(min=0.0).masked_fill(padding[..., None], 0.0)
        spectra, last = magnitude.to(torch.complex64), torch.zeros_like(magnitude, dtype=torch.complex64)
        for _ in range(self.rounds):
            found = self.frames.split(self.frames.join(spectra, padding))
            direction = found - MOMENTUM * last
            spectra, last = magnitude * direction / direction.abs().clamp(min=SMALLEST_MAGNITUDE), found
        return self.frames.split(self.frames.join(spectra, padding))

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute features (B, T, D) of spectra (B, T, F): log-magnitudes, phase steps over time and frequency."""
        turn = torch.polar(torch.ones_like(spectra.real), -self.frames.advance)
        over_time = functional.pad(spectra[:, 1:] * spectra[:, :-1].conj(), (0, 0, 1, 0)) * turn
        over_frequency = functional.pad(spectra[..., 1:] * spectra[..., :-1].conj(), (1, 0))
        seen = [spectra.abs().clamp(min=SMALLEST_MAGNITUDE).log()]
        for product in (over_time, over_frequency):
            unit = product / product.abs().clamp(min=SMALLEST_MAGNITUDE)
            seen += [unit.real, unit.imag]
        return self.see(torch.cat(seen, dim=-1))


class Frames(nn.Module):
    """STFT and its inverse; frame t of T is centred on sample ``t * hop``, and T frames span ``T * hop`` samples."""

    window: Tensor
    advance: Tensor

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self.fft_size, self.hop = mel.fft_size, mel.hop_samples
        self.register_buffer("window", torch.hann_window(mel.window_samples), persistent=False)
        # Phase advance of a constant tone in the middle of a band from one frame to the next.
        turns = torch.arange(self.fft_size // 2 + 1, dtype=torch.double) * self.hop / self.fft_size
        self.register_buffer("advance", (2 * torch.pi * (turns % 1)).float(), persistent=False)

    def split(self, waveform: Tensor) -> Tensor:
        """Compute the spectra (B, T, F) of a waveform (B, T * hop)."""
        centre, length = len(self.window) // 2, len(self.window)
        frames = functional.pad(waveform, (centre, length)).unfold(1, length, self.hop)[
            :, : waveform.shape[1] // self.hop
        ]
        return torch.fft.rfft(frames * self.window, self.fft_size, dim=-1)

    def join(self, spectra: Tensor, padding: Tensor) -> Tensor:
        """Compute the waveform (B, T * hop) of spectra (B, T, F) by least squares; ``padding`` (B, T)."""
        valid = ~padding[..., None]
        frames = torch.fft.irfft(spectra, self.fft_size, dim=-1)[..., : len(self.window)] * self.window * valid
        # Divided by the windows of the row's valid frames, so that a row in a batch ends as it would alone.
        envelope = self.overlap_add(self.window.square() * valid.to(frames.dtype))
        ends = padding_mask((~padding).sum(1) * self.hop, frames.shape[1] * self.hop)
        return (self.overlap_add(frames) / envelope.clamp(min=1e-8)).masked_fill(ends, 0.0)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Add frames (B, T, L) at distances of a hop, each centred on its sample, to a waveform (B, T * hop)."""
        length, window = frames.shape[1] * self.hop, len(self.window)
        size = (1, (frames.shape[1] - 1) * self.hop + window)
        summed = functional.fold(frames.transpose(1, 2), size, (1, window), stride=(1, self.hop))[:, 0, 0]
        return functional.pad(summed, (0, length))[:, window // 2 : window // 2 + length]


def _initialise(module: nn.Module) -> None:
    """Initialise weights from a narrow normal distribution, as published."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
