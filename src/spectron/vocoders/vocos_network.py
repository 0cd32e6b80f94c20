"""The network of a Vocos: ConvNeXt blocks over frames, an inverse STFT behind them, and a draft by Griffin-Lim before them.

Module names are those of the published weights; padded frames are hidden from every convolution and from the overlap-add.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import MelConfig, padding_mask
from spectron.errors import ConfigError

LARGEST_MAGNITUDE = 1.0e2  # as published: keeps an untrained exponential from overflowing
SMALLEST_MAGNITUDE = 1.0e-6  # a phase of nothing has no gradient
MOMENTUM = 0.9 / 1.9  # of the fast variant of Griffin-Lim, as torchaudio has it


@dataclass
class VocosSettings:
    """Size of a Vocos; the defaults are the published 24 kHz model's.

    Args:
        width: Channels of the ConvNeXt blocks.
        layers: Blocks.
        feedforward: Channels inside a block.
        kernel: Frames seen by a block's convolution, an odd number.
        draft_rounds: Rounds of Griffin-Lim in a draft that the network then mends; 0, as published, makes the waveform of nothing.
    """

    width: int = 512
    layers: int = 8
    feedforward: int = 1536
    kernel: int = 7
    draft_rounds: int = 0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ConfigError(f"must be odd, got {self.kernel}", key="kernel")
        if self.draft_rounds < 0:
            raise ConfigError(f"must be 0 or more, got {self.draft_rounds}", key="draft_rounds")


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over frames, then a two-layer network a frame, scaled by a learned vector and added."""

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
        """Frames (B, D, T), of which ``padding`` (B, 1, T) is True at those that are none."""
        y = self.dwconv(x.masked_fill(padding, 0.0)).transpose(1, 2)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        return x + y.transpose(1, 2)


class Backbone(nn.Module):
    """Log-mel (B, M, T) to features (B, T, D)."""

    def __init__(self, bands: int, settings: VocosSettings) -> None:
        super().__init__()
        self.embed = nn.Conv1d(bands, settings.width, settings.kernel, padding=settings.kernel // 2)
        self.norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(settings) for _ in range(settings.layers))
        self.final_layer_norm = nn.LayerNorm(settings.width, eps=1e-6)
        self.apply(_initialise)

    def forward(self, mel: Tensor, padding: Tensor, more: Tensor | None = None) -> Tensor:
        """``padding`` (B, 1, T) is True at frames that are none; ``more`` (B, T, D) is added to the embedded frames."""
        x = self.embed(mel.masked_fill(padding, 0.0))
        x = x if more is None else x + more.transpose(1, 2)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x, padding)
        return self.final_layer_norm(x.transpose(1, 2))


class InverseSTFTHead(nn.Module):
    """Features (B, T, D) to magnitude and phase of every frame, or to what is changed in those of a draft, and these to a waveform."""

    def __init__(self, mel: MelConfig, settings: VocosSettings) -> None:
        super().__init__()
        self.frames = Frames(mel)
        self.out = nn.Linear(settings.width, mel.fft_size + 2)
        _initialise(self.out)
        if settings.draft_rounds:
            nn.init.zeros_(self.out.weight)  # an untrained network leaves the draft as it is

    def forward(self, features: Tensor, draft: Tensor | None, padding: Tensor) -> Tensor:
        """Waveform (B, T * hop); ``draft`` (B, T, F) are spectra to change, ``padding`` (B, T) is True at frames that are none."""
        magnitude, phase = self.out(features).float().chunk(2, dim=-1)  # (B, T, F)
        spectra = torch.polar(magnitude.exp().clamp(max=LARGEST_MAGNITUDE), phase)
        return self.frames.join(spectra if draft is None else draft * spectra, padding)


class Draft(nn.Module):
    """A first draft of the waveform by Griffin-Lim (the fast variant, Perraudin et al. 2013), and what the network sees of it."""

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
        """Log-mel (B, T, M) to the spectra (B, T, F) of a waveform that nearly has it; ``padding`` (B, T)."""
        magnitude = (mel.float().exp() @ self.inverse).clamp(min=0.0).masked_fill(padding[..., None], 0.0)
        spectra, last = magnitude.to(torch.complex64), torch.zeros_like(magnitude, dtype=torch.complex64)
        for _ in range(self.rounds):
            found = self.frames.split(self.frames.join(spectra, padding))
            direction = found - MOMENTUM * last
            spectra, last = magnitude * direction / direction.abs().clamp(min=SMALLEST_MAGNITUDE), found
        return self.frames.split(self.frames.join(spectra, padding))

    def forward(self, spectra: Tensor) -> Tensor:
        """Spectra (B, T, F) to features (B, T, D): log-magnitudes, and how phase goes on from frame to frame and band to band."""
        turn = torch.polar(torch.ones_like(spectra.real), -self.frames.advance)
        over_time = functional.pad(spectra[:, 1:] * spectra[:, :-1].conj(), (0, 0, 1, 0)) * turn
        over_frequency = functional.pad(spectra[..., 1:] * spectra[..., :-1].conj(), (1, 0))
        seen = [spectra.abs().clamp(min=SMALLEST_MAGNITUDE).log()]
        for product in (over_time, over_frequency):
            unit = product / product.abs().clamp(min=SMALLEST_MAGNITUDE)
            seen += [unit.real, unit.imag]
        return self.see(torch.cat(seen, dim=-1))


class Frames(nn.Module):
    """STFT and its inverse where frame t of T is centred on sample ``t * hop``, and T frames stand for ``T * hop`` samples."""

    window: Tensor
    advance: Tensor

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self.fft_size, self.hop = mel.fft_size, mel.hop_samples
        self.register_buffer("window", torch.hann_window(mel.window_samples), persistent=False)
        # How far a steady tone in the middle of a band turns from one frame to the next.
        turns = torch.arange(self.fft_size // 2 + 1, dtype=torch.double) * self.hop / self.fft_size
        self.register_buffer("advance", (2 * torch.pi * (turns % 1)).float(), persistent=False)

    def split(self, waveform: Tensor) -> Tensor:
        """Waveform (B, T * hop) to spectra (B, T, F)."""
        centre, length = len(self.window) // 2, len(self.window)
        frames = functional.pad(waveform, (centre, length)).unfold(1, length, self.hop)[
            :, : waveform.shape[1] // self.hop
        ]
        return torch.fft.rfft(frames * self.window, self.fft_size, dim=-1)

    def join(self, spectra: Tensor, padding: Tensor) -> Tensor:
        """Spectra (B, T, F) to a waveform (B, T * hop) by least squares, as if frames where ``padding`` (B, T) is True were not there."""
        valid = ~padding[..., None]
        frames = torch.fft.irfft(spectra, self.fft_size, dim=-1)[..., : len(self.window)] * self.window * valid
        # Divided by the windows that a row really has: a row that ends inside its batch ends as it would alone.
        envelope = self.overlap_add(self.window.square() * valid.to(frames.dtype))
        ends = padding_mask((~padding).sum(1) * self.hop, frames.shape[1] * self.hop)
        return (self.overlap_add(frames) / envelope.clamp(min=1e-8)).masked_fill(ends, 0.0)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Frames (B, T, L), each a hop after the last and centred on its own sample, to their sum (B, T * hop)."""
        length, window = frames.shape[1] * self.hop, len(self.window)
        size = (1, (frames.shape[1] - 1) * self.hop + window)
        summed = functional.fold(frames.transpose(1, 2), size, (1, window), stride=(1, self.hop))[:, 0, 0]
        return functional.pad(summed, (0, length))[:, window // 2 : window // 2 + length]


def _initialise(module: nn.Module) -> None:
    """Small normal weights, as published."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
