"""Losses of a neural vocoder: spectrograms at several resolutions, adversarial hinge, feature matching.

Sources: Parallel WaveGAN (arXiv:1910.11480) for the STFT distance, HiFi-GAN (arXiv:2010.05646) for feature matching,
Vocos (arXiv:2306.00814) for hinge losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RESOLUTIONS = (512, 1024, 2048)
SMALLEST = 1.0e-5  # of a magnitude, before its logarithm


def stft_magnitudes(waveform: Tensor, window: int) -> Tensor:
    """Compute the STFT magnitudes (B, F, T) of (B, S) with a Hann window of ``window`` samples and a quarter as hop."""
    hann = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=hann, pad_mode="constant", return_complex=True)
    # Not abs(): its gradient at 0 is NaN on some devices.
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=SMALLEST**2).sqrt()


def stft_distances(generated: Tensor, recorded: Tensor, windows: Sequence[int] = RESOLUTIONS) -> tuple[Tensor, Tensor]:
    """Compute two distances of two waveforms (B, S) for each row (B,), as means over the windows.

    Source: arXiv:1910.11480, equations 5 and 6.

    Returns:
        Spectral convergence, dominated by loud parts, and mean absolute log-magnitude difference, equal for all parts.
    """
    convergence, logarithmic = [], []
    for window in windows:
        one, other = stft_magnitudes(generated, window), stft_magnitudes(recorded, window)
        convergence.append((other - one).flatten(1).norm(dim=1) / other.flatten(1).norm(dim=1))
        logarithmic.append((one.log() - other.log()).abs().flatten(1).mean(1))
    return torch.stack(convergence).mean(0), torch.stack(logarithmic).mean(0)


def generator_hinge(scores: Sequence[Tensor]) -> Tensor:
    """Compute the vocoder's hinge loss from the scores (B, X) of its outputs, as the mean over discriminators."""
    return torch.stack([(1 - score).clamp(min=0).mean() for score in scores]).mean()


def discriminator_hinge(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Compute the discriminators' hinge loss from scores of recordings and vocoder outputs, as the mean over them."""
    pairs = zip(real, generated, strict=True)
    return torch.stack([(1 - one).clamp(min=0).mean() + (1 + other).clamp(min=0).mean() for one, other in pairs]).mean()


def feature_matching(real: Sequence[list[Tensor]], generated: Sequence[list[Tensor]]) -> Tensor:
    """Compute the mean absolute difference of the features of recordings (constants here) and their vocoded copies."""
    pairs = zip(real, generated, strict=True)
    layers = [
        (one.detach() - other).abs().mean() for ones, others in pairs for one, other in zip(ones, others, strict=True)
    ]
    return torch.stack(layers).mean()
