"""Griffin-Lim: phase by iteration, no weights, with least squares from mel bands to linear frequency.

Source: Griffin and Lim 1984; the fast variant of Perraudin et al. 2013. It starts from phase 0, so that it repeats.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from spectron.audio.mel import MelConfig
from spectron.contracts import Vocoder
from spectron.ranges import BelowOne, Range, checks_ranges

Iterations = Annotated[int, Range(0, 10_000)]


@checks_ranges
class GriffinLimVocoder(Vocoder):
    """Vocoder without weights, for log-mel spectrograms of any settings.

    Args:
        mel: Spectrogram settings of the speech head (supplied by the platform).
        iterations: Iterations of phase estimation.
        momentum: Momentum of the fast variant (Perraudin et al. 2013), below 1.
    """

    format: MelConfig
    inverse: Tensor
    window: Tensor

    def __init__(self, mel: MelConfig, iterations: Iterations = 32, momentum: BelowOne = 0.9) -> None:
        super().__init__(mel)
        self.iterations = iterations
        self.momentum = momentum
        # The pseudo-inverse is least squares for every frame at once.
        self.register_buffer("inverse", torch.linalg.pinv(mel.filter_bank()), persistent=False)  # (M, F)
        self.register_buffer("window", torch.hann_window(mel.window_samples), persistent=False)

    @torch.inference_mode()
    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert log-mel (B, T, M) with (B,) valid frames to a waveform (B, S) and (B,) samples, a hop per frame."""
        rows = [self.invert(row[:frames]) for row, frames in zip(mel.float(), num_frames.tolist(), strict=True)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), num_frames * self.format.hop_samples

    def invert(self, mel: Tensor) -> Tensor:
        """Convert one spectrogram (T, M) to its waveform (T * hop,).

        Rows are converted one by one, because the phase of a row must not depend on its batch.
        """
        c = self.format
        if not len(mel):
            return mel.new_zeros(0)
        magnitude = (mel.exp() @ self.inverse).clamp(min=0.0).T  # (F, T)
        # The last frame is repeated, because T frames span only T - 1 hops. Very short speech needs more repeats,
        # because the first and the last half window are mirrored.
        repeats = max(1, c.fft_size // (2 * c.hop_samples) + 2 - len(mel))
        magnitude = torch.cat([magnitude, magnitude[:, -1:].expand(-1, repeats)], dim=1)
        length = (len(mel) + repeats - 1) * c.hop_samples
        return self._with_phase(magnitude, length)[: len(mel) * c.hop_samples]

    def _with_phase(self, magnitude: Tensor, length: int) -> Tensor:
        """Estimate the phase of magnitudes (F, T); returns the waveform (length,)."""
        c = self.format
        sizes = (c.fft_size, c.hop_samples, c.window_samples, self.window)
        # Of the fast variant: part of the last estimate is subtracted.
        momentum = self.momentum / (1 + self.momentum)
        phases = torch.ones_like(magnitude, dtype=torch.complex64)
        last = torch.zeros((), device=magnitude.device)
        for _ in range(self.iterations):
            waveform = torch.istft(magnitude * phases, *sizes, length=length)
            rebuilt = torch.stft(waveform, *sizes, pad_mode="reflect", return_complex=True)
            moved = rebuilt - momentum * last
            phases = moved / (moved.abs() + 1e-16)
            last = rebuilt
        return torch.istft(magnitude * phases, *sizes, length=length)
