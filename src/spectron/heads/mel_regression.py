"""Mel regression head: a bottleneck pre-net for past frames, a post-net for the next ones, a stop probability.

Source: arXiv 2305.15255, section 3.2. The stop probability, several frames per step and noise on the history are not in
that paper (Tacotron 2, arXiv:1712.05884; MELLE, arXiv:2407.08551).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.mel import LogMel, MelConfig, padding_mask
from spectron.batch import LossTerm, SpeechTargets
from spectron.contracts import SpeechHead
from spectron.errors import ConfigError
from spectron.losses import SpectrogramLoss, SpectrogramLossSettings
from spectron.randomness import RowRandom
from spectron.ranges import BelowOne, Finite, NonNegative, Positive, Proportion, Range, Size, checks_ranges


@checks_ranges
@dataclass
class PreNetSettings:
    """Settings of the pre-net, which embeds past frames for the LM.

    Args:
        bottleneck: Width of the two narrow layers; their narrowness keeps the model from copying the last frames.
        dropout: Dropout after each of them.
        dropout_at_inference: Keep that dropout on in generation; without it, output tends to repeat or explode.
        history_noise: Standard deviation of Gaussian noise on normalised past frames in training, against drift.
        history_dropout: Fraction of the utterances in training whose past frames are all hidden. Past frames reveal the
            voice, so that otherwise only the very first frames depend on the prompt's voice.
        last_frames: Number of a step's last frames that the pre-net reads; None means all, Tacotron (arXiv:1703.10135)
            reads one.
    """

    bottleneck: Size = 64
    dropout: BelowOne = 0.5
    dropout_at_inference: bool = True
    history_noise: NonNegative = 0.0
    history_dropout: Proportion = 0.0
    last_frames: Size | None = None


@checks_ranges
@dataclass
class StopSettings:
    """Settings of the loss of the stop probability.

    Args:
        weight: Weight relative to the spectrogram loss.
        positive_weight: Weight of the one last step relative to each other step.
    """

    weight: NonNegative = 1.0
    positive_weight: NonNegative = 5.0


MEL, PRE_NET, LOSS, STOP = MelConfig(), PreNetSettings(), SpectrogramLossSettings(), StopSettings()


class PreNet(nn.Module):
    """Pre-net: two narrow ReLU layers with dropout, then a layer to the LM's width."""

    def __init__(self, inputs: int, hidden_size: int, settings: PreNetSettings) -> None:
        super().__init__()
        self.settings = settings
        self.narrow = nn.ModuleList(
            [nn.Linear(inputs, settings.bottleneck), nn.Linear(settings.bottleneck, settings.bottleneck)]
        )
        self.widen = nn.Linear(settings.bottleneck, hidden_size)

    def forward(self, frames: Tensor, random: RowRandom | None) -> Tensor:
        """Embed normalised frames (B, K, F) as LM inputs (B, K, D)."""
        x = frames
        for layer in self.narrow:
            x = self.drop(torch.relu(layer(x)), random)
        return self.widen(x)

    def drop(self, x: Tensor, random: RowRandom | None) -> Tensor:
        """Apply dropout, drawn row by row from ``random`` outside training (and off without it)."""
        rate = self.settings.dropout
        if self.training or random is None or not self.settings.dropout_at_inference:
            return functional.dropout(x, rate, self.training)
        return x * (random.uniform(*x.shape[1:], like=x) >= rate) / (1 - rate)


@checks_ranges
class MelRegressionHead(SpeechHead):
    """Speech head that predicts ``frames_per_step`` log-mel frames per decoding step.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        mel: Spectrogram settings of the targets.
        frames_per_step: Frames r that one step predicts.
        pre_net: Settings of the pre-net.
        post_net_width: Width of the post-net's hidden layer.
        loss: Weights and variants of the spectrogram loss.
        stop: Settings of the loss of the stop probability.
        log_mel_mean: Typical log-mel value, subtracted within the head so that its layers read numbers around 0.
        log_mel_std: Typical standard deviation, the divisor within the head. The losses use log-mel itself.

    Raises:
        ConfigError: if ``pre_net.last_frames`` is above ``frames_per_step``.
    """

    format: MelConfig

    def __init__(
        self,
        hidden_size: Size,
        mel: MelConfig = MEL,
        frames_per_step: Annotated[int, Range(1, 1000)] = 1,
        pre_net: PreNetSettings = PRE_NET,
        post_net_width: Size = 512,
        loss: SpectrogramLossSettings = LOSS,
        stop: StopSettings = STOP,
        log_mel_mean: Finite = -1.5,
        log_mel_std: Positive = 2.5,
    ) -> None:
        super().__init__()
        self.format = mel
        self.frames_per_step = frames_per_step
        self.stop = stop
        self.mean, self.std = log_mel_mean, log_mel_std
        self.log_mel = LogMel(mel)
        step_width = frames_per_step * mel.n_mels
        seen = frames_per_step if pre_net.last_frames is None else pre_net.last_frames
        if seen > frames_per_step:
            raise ConfigError(
                f"must be from 1 to frames_per_step ({frames_per_step}), got {seen}", key="pre_net.last_frames"
            )
        self.seen_width = seen * mel.n_mels
        self.pre_net = PreNet(self.seen_width, hidden_size, pre_net)
        self.post_net = nn.Sequential(
            nn.Linear(hidden_size, post_net_width), nn.GELU(), nn.Linear(post_net_width, step_width)
        )
        self.stop_net = nn.Linear(hidden_size, 1)
        self.loss_function = SpectrogramLoss(loss)

    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Group the log-mel frames of speech (B, S) into steps; silence fills a last step that is not full."""
        mel, num_frames = self.log_mel(waveform, num_samples)
        short = -mel.shape[1] % self.frames_per_step
        frames = functional.pad(mel, (0, 0, 0, short))
        frames = frames.masked_fill(padding_mask(num_frames, frames.shape[1])[..., None], math.log(self.format.floor))
        steps = frames.unflatten(1, (-1, self.frames_per_step)).flatten(2)
        return SpeechTargets(steps, -(-num_frames // self.frames_per_step), num_frames, mel)

    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed past frames (B, K, r * M) as LM inputs (B, K, D)."""
        frames = (steps[..., -self.seen_width :] - self.mean) / self.std
        noise, hidden = self.pre_net.settings.history_noise, self.pre_net.settings.history_dropout
        if self.training and noise > 0:
            frames = frames + noise * torch.randn_like(frames)
        if self.training and hidden > 0:
            frames = frames * (torch.rand(len(frames), 1, 1, device=frames.device) >= hidden)
        return self.pre_net(frames, random)

    def predict(self, hidden: Tensor) -> Tensor:
        """Predict the frames of a step (..., r * M) from hidden states (..., D)."""
        return self.post_net(hidden) * self.std + self.mean

    def loss(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, LossTerm]:
        """Compute the spectrogram terms, ``stop``, and ``speech``, their weighted total; each counts valid frames."""
        count = targets.num_frames.sum()
        return {name: LossTerm(values.sum(), count) for name, values in self.step_losses(hidden, targets).items()}

    def step_losses(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Compute the ``loss`` at each step (B, K)."""
        return self.compare(self.predict(hidden), hidden, targets)

    def compare(self, predicted: Tensor, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Compute the losses (B, K) of steps (B, K, r * M) that were predicted from hidden states (B, K, D)."""
        mel = cast(Tensor, targets.mel)  # the targets of this head have one
        by_frame = self.loss_function.by_frame(
            self.by_frame(predicted.float())[:, : mel.shape[1]], mel, targets.num_frames
        )
        losses = {name: self.by_step(values) for name, values in by_frame.items()}
        steps = torch.arange(hidden.shape[1], device=hidden.device)
        is_last = (steps == targets.num_steps[:, None] - 1).float()
        weight = torch.tensor(self.stop.positive_weight, device=hidden.device)
        stop = functional.binary_cross_entropy_with_logits(
            self.stop_net(hidden)[..., 0].float(), is_last, pos_weight=weight, reduction="none"
        )
        # Counted in frames, like the spectrogram: the stop of a step counts for each of its frames.
        losses["stop"] = stop.masked_fill(padding_mask(targets.num_steps, hidden.shape[1]), 0.0) * self.frames_per_step
        losses["speech"] = losses["spectrogram"] + self.stop.weight * losses["stop"]
        return losses

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict the next frames (B, r * M) and the stop probability (B,) from a hidden state (B, D)."""
        return self.predict(hidden).float(), self.stop_net(hidden)[:, 0].float().sigmoid()

    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Convert steps (B, K, r * M) to log-mel (B, K * r, M); every frame of a valid step is valid."""
        return self.by_frame(steps), num_steps * self.frames_per_step

    def by_frame(self, steps: Tensor) -> Tensor:
        """Reshape steps (B, K, r * M) to frames (B, K * r, M)."""
        return steps.unflatten(2, (self.frames_per_step, -1)).flatten(1, 2)

    def by_step(self, values: Tensor) -> Tensor:
        """Add up values of frames (B, T) by step (B, K)."""
        short = -values.shape[1] % self.frames_per_step
        return functional.pad(values, (0, short)).unflatten(1, (-1, self.frames_per_step)).sum(2)
