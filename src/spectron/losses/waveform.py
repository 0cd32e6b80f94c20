"""Losses of a neural vocoder: spectrograms at several resolutions, adversarial hinge, feature matching.

Sources: Parallel WaveGAN (arXiv:1910.11480) for the STFT distance, HiFi-GAN (arXiv:2010.05646) for feature matching, Vocos
(arXiv:2306.00814) for hinge losses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RESOLUTIONS = (512, 1024, 2048)
SMALLEST = 1.0e-5  # of a magnitude, before its logarithm


def stft_magnitudes(waveform: Tensor, window: int) -> Tensor:
    """Magnitudes (B, F, T) of an STFT of (B, S) with a Hann window of so many samples and a hop of a quarter of it."""
    hann = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=hann, pad_mode="constant", return_complex=True)
    # Not abs(): its gradient at 0 is not a number on every device.
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=SMALLEST**2).sqrt()


def stft_distances(generated: Tensor, recorded: Tensor, windows: Sequence[int] = RESOLUTIONS) -> tuple[Tensor, Tensor]:
    """Two distances of two waveforms (B, S), a row each (B,), means over the windows.

    Source: arXiv:1910.11480, equations 5 and 6.

    Returns:
        Spectral convergence, which looks at what is loud, and mean absolute log-magnitude difference, which looks at everything.
    """
    convergence, logarithmic = [], []
    for window in windows:
        one, other = stft_magnitudes(generated, window), stft_magnitudes(recorded, window)
        convergence.append((other - one).flatten(1).norm(dim=1) / other.flatten(1).norm(dim=1))
        logarithmic.append((one.log() - other.log()).abs().flatten(1).mean(1))
    return torch.stack(convergence).mean(0), torch.stack(logarithmic).mean(0)


def generator_hinge(scores: Sequence[Tensor]) -> Tensor:
    """What the vocoder pays where discriminators, (B, X) each, see through it; mean over them."""
    return torch.stack([(1 - score).clamp(min=0).mean() for score in scores]).mean()


def discriminator_hinge(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """What discriminators pay for their mistakes; mean over them."""
    pairs = zip(real, generated, strict=True)
    return torch.stack([(1 - one).clamp(min=0).mean() + (1 + other).clamp(min=0).mean() for one, other in pairs]).mean()


def feature_matching(real: Sequence[list[Tensor]], generated: Sequence[list[Tensor]]) -> Tensor:
    """Mean absolute difference of the discriminators' features of a recording (a constant here) and of its vocoded copy."""
    pairs = zip(real, generated, strict=True)
    layers = [
        (one.detach() - other).abs().mean() for ones, others in pairs for one, other in zip(ones, others, strict=True)
    ]
    return torch.stack(layers).mean()
