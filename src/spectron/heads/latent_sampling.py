"""Latent sampling head: each step samples a Gaussian latent, and a residual network makes frames of it.

Source: MELLE (arXiv:2407.08551), sections 3.2 and 3.3, with its KL and flux losses. Its losses are sums over an
utterance; here, like the spectrogram's, they are means over valid frames and bands, in normalised log-mel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import padding_mask
from spectron.batch import SpeechTargets
from spectron.heads.mel_regression import MelRegressionHead
from spectron.randomness import RowRandom
from spectron.ranges import NonNegative, Size, checks_ranges


@checks_ranges
@dataclass
class LatentSettings:
    """Settings of the latent and its losses.

    Args:
        kl_weight: Weight of the divergence of the predicted Gaussian from one of variance 1 around the true frames.
        flux_weight: Weight of the reward for a difference from the previous frame, against frames that repeat.
        std_at_inference: Factor of the standard deviation in generation; 0 takes the mean.
    """

    kl_weight: NonNegative = 0.1
    flux_weight: NonNegative = 0.5
    std_at_inference: NonNegative = 1.0


LATENT = LatentSettings()


@checks_ranges
class LatentSamplingHead(MelRegressionHead):
    """``MelRegressionHead`` whose steps sample a latent of the frames' size; a residual network makes frames of it.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        latent: Settings of the latent and its losses.
        post_net_width: Width of the hidden layers of the post-net, which predicts the latent's mean, and of the
            residual network.
        **others: Arguments of ``MelRegressionHead``.
    """

    def __init__(
        self, hidden_size: Size, latent: LatentSettings = LATENT, post_net_width: Size = 512, **others: Any
    ) -> None:
        super().__init__(hidden_size, post_net_width=post_net_width, **others)
        self.latent = latent
        step_width, inner = self.frames_per_step * self.format.n_mels, post_net_width
        self.log_variance = nn.Linear(hidden_size, step_width)
        self.refine = nn.Sequential(nn.Linear(step_width, inner), nn.GELU(), nn.Linear(inner, step_width))

    def frames(self, latent: Tensor) -> Tensor:
        """Convert latents (..., r * M) to log-mel frames of the same shape."""
        return (latent + self.refine(latent)) * self.std + self.mean

    def step_losses(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Compute the losses of ``MelRegressionHead``, and ``kl`` and ``flux``, at each step (B, K).

        In training the frames come from a sampled latent, otherwise from its mean.
        """
        mean, log_variance = self.post_net(hidden).float(), self.log_variance(hidden).float()
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        losses = self.compare(self.frames(drawn.to(hidden.dtype)), hidden, targets)
        true = (targets.steps - self.mean) / self.std
        kl = self.by_frame(0.5 * (log_variance.exp() + (mean - true).square() - 1 - log_variance))
        # MELLE's equation 6, relative to the previous true frame; the first frame has none.
        before = functional.pad(self.by_frame(true), (0, 0, 1, 0))[:, :-1]
        flux = -(self.by_frame(mean) - before).abs()
        flux[:, 0] = 0
        # By frames, not by steps: the last step may contain frames beyond the recording.
        valid = ~padding_mask(targets.num_frames, kl.shape[1])[..., None]
        for name, values in (("kl", kl), ("flux", flux)):
            losses[name] = self.by_step((values * valid).mean(2))
        weighted = self.latent.kl_weight * losses["kl"] + self.latent.flux_weight * losses["flux"]
        losses["speech"] = losses["speech"] + weighted
        return losses

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict frames (B, r * M) and stop probability (B,) from a hidden state (B, D).

        The frames come from a sampled latent, or from its mean without ``random``.
        """
        latent = self.post_net(hidden)
        if random is not None:
            std = (0.5 * self.log_variance(hidden)).exp() * self.latent.std_at_inference
            latent = latent + std * random.normal(latent.shape[1], like=latent)
        return self.frames(latent).float(), self.stop_net(hidden)[:, 0].float().sigmoid()
