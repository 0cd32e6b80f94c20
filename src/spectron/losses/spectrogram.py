"""Spectrogram regression with deltas: L_recon = L_s + L_f + L_t, each an L1 plus a squared L2 term.

Source: arXiv 2305.15255, section 3.3. The paper does not state how its sums are normalised. Here every term is summed
over its valid elements and divided by (valid frames x bands), so that terms, batches and ranks add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import padding_mask
from spectron.batch import LossTerm
from spectron.ranges import NonNegative, Range, checks_ranges


@checks_ranges
@dataclass
class SpectrogramLossSettings:
    """Weights and variants of the spectrogram loss.

    Args:
        frame_weight: Weight of L_s, on the frames themselves.
        frequency_weight: Weight of L_f, on first differences along frequency.
        time_weight: Weight of L_t, on differences along time.
        time_order: Highest order K of the time differences.
        time_delta: ``composed`` takes first differences k times (the paper); ``lagged`` takes ``z[k:] - z[:-k]``.
    """

    frame_weight: NonNegative = 1.0
    frequency_weight: NonNegative = 1.0
    time_weight: NonNegative = 1.0
    time_order: Annotated[int, Range(0, 100)] = 3
    time_delta: Literal["composed", "lagged"] = "composed"


def time_delta(frames: Tensor, order: int, reading: str) -> Tensor:
    """Compute the difference of order k along time: (B, T, M) to (B, T - k, M), empty if T <= k."""
    if frames.shape[1] <= order:
        return frames[:, :0]
    return torch.diff(frames, n=order, dim=1) if reading == "composed" else frames[:, order:] - frames[:, :-order]


class SpectrogramLoss(nn.Module):
    """The three terms of L_recon as sums over valid elements, with valid frames as their count."""

    def __init__(self, settings: SpectrogramLossSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, predicted: Tensor, target: Tensor, num_frames: Tensor) -> dict[str, LossTerm]:
        """Compare two spectrograms (B, T, M) over (B,) valid frames.

        Returns:
            ``frames``, ``frequency`` and ``time``, unweighted, and ``spectrogram``, their weighted sum.
        """
        count = num_frames.sum()
        return {
            name: LossTerm(values.sum(), count) for name, values in self.by_frame(predicted, target, num_frames).items()
        }

    def by_frame(self, predicted: Tensor, target: Tensor, num_frames: Tensor) -> dict[str, Tensor]:
        """Return the terms of ``forward`` at each frame (B, T); a time difference counts at its last frame."""
        s = self.settings
        padding = padding_mask(num_frames, predicted.shape[1])[..., None]
        # Both sides are filled alike, so that no padded value, whatever it holds, reaches a difference.
        predicted, target = predicted.masked_fill(padding, 0.0), target.masked_fill(padding, 0.0)

        def term(error: Tensor, invalid: Tensor) -> Tensor:
            error = error.masked_fill(invalid, 0.0)
            return (error.abs() + error.square()).sum(dim=2) / predicted.shape[2]

        error = predicted - target
        # A difference of order k is valid where its last frame is: padding only ever follows.
        deltas = [
            functional.pad(term(time_delta(error, k, s.time_delta), padding[:, k:]), (k, 0))
            for k in range(1, s.time_order + 1)
            if error.shape[1] > k
        ]
        values = {
            "frames": term(error, padding),
            "frequency": term(error.diff(dim=2), padding),
            "time": sum(deltas, error.new_zeros(error.shape[:2])),
        }
        weights = {"frames": s.frame_weight, "frequency": s.frequency_weight, "time": s.time_weight}
        whole = sum((weights[name] * value for name, value in values.items()), error.new_zeros(error.shape[:2]))
        return {**values, "spectrogram": whole}
