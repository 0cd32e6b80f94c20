"""Discriminators between recordings and vocoded speech: on the folded waveform, and on spectrograms.

Sources: HiFi-GAN (Kong et al. 2020, arXiv:2010.05646), UnivNet (Jang et al. 2021, arXiv:2106.07889). Channels are
settings here, because the published widths need a GPU. The first layer of a resolution discriminator, too, has a stride
over frequencies, because it causes most of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from spectron.ranges import Range, Size, checks_ranges

SLOPE = 0.1

Judgement = tuple[Tensor, list[Tensor]]  # scores, and the features of all layers


@checks_ranges
@dataclass
class DiscriminatorSettings:
    """Number and width of the discriminators.

    Args:
        periods: Periods in samples at which the waveform is folded, one discriminator each.
        period_channels: Channels of the layers of a period discriminator; all but the last have a stride of 3.
        resolutions: STFT windows in samples, one discriminator each; the hop is a quarter of the window.
        resolution_channels: Channels of the layers of a resolution discriminator.
    """

    periods: list[Size] = field(default_factory=lambda: [2, 3, 5, 7, 11])
    period_channels: list[Size] = field(default_factory=lambda: [32, 128, 512, 1024, 1024])
    resolutions: list[Annotated[int, Range(4, 2**20)]] = field(default_factory=lambda: [512, 1024, 2048])
    resolution_channels: Size = 64


class Discriminator(nn.Module):
    """Base class: layers with leaky ReLUs, and an output layer; a subclass builds them and their input."""

    layers: nn.ModuleList
    output: nn.Module

    def judge(self, x: Tensor) -> Judgement:
        """Score an input (B, 1, H, W)."""
        features = []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), SLOPE)
            features.append(x)
        return self.output(x).flatten(1), features


class PeriodDiscriminator(Discriminator):
    """Discriminator on the waveform, folded so that each row holds every p-th sample."""

    def __init__(self, period: int, channels: list[int]) -> None:
        super().__init__()
        self.period = period
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), stride=(3 if place + 1 < len(channels) else 1, 1), padding=(2, 0)))
            for place, (i, o) in enumerate(pairwise([1, *channels]))
        )
        self.output = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> Judgement:
        """Score waveforms (B, S)."""
        x = functional.pad(waveform[:, None], (0, -waveform.shape[1] % self.period), mode="reflect")
        x = x.unflatten(2, (-1, self.period))  # (B, 1, S / p, p)
        return self.judge(x)


class ResolutionDiscriminator(Discriminator):
    """Discriminator on the magnitudes of an STFT."""

    window: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        c = channels
        # (inputs, kernel, stride): time first, frequency second; strides reduce the number of frequencies.
        shapes = [
            (1, (3, 9), (1, 2)),
            (c, (3, 9), (1, 2)),
            (c, (3, 9), (1, 2)),
            (c, (3, 9), (1, 2)),
            (c, (3, 3), (1, 1)),
        ]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inputs, c, kernel, stride=stride, padding=(kernel[0] // 2, kernel[1] // 2)))
            for inputs, kernel, stride in shapes
        )
        self.output = weight_norm(nn.Conv2d(c, 1, (3, 3), padding=1))
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, waveform: Tensor) -> Judgement:
        """Score waveforms (B, S)."""
        size = len(self.window)
        spectrum = torch.stft(waveform, size, size // 4, window=self.window, return_complex=True)
        x = spectrum.abs().transpose(1, 2)[:, None]  # (B, 1, T, F)
        return self.judge(x)


class Discriminators(nn.ModuleList):
    """All discriminators of the settings."""

    def __init__(self, settings: DiscriminatorSettings) -> None:
        super().__init__(
            [
                *(PeriodDiscriminator(period, settings.period_channels) for period in settings.periods),
                *(ResolutionDiscriminator(window, settings.resolution_channels) for window in settings.resolutions),
            ]
        )

    def forward(self, waveform: Tensor) -> list[Judgement]:
        """Score waveforms (B, S)."""
        return [judge(waveform) for judge in self]
