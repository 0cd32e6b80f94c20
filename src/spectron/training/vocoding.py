"""Training of a neural vocoder: spectrogram losses first, then discriminators as well.

Vocoder and discriminators have one sum of losses and one optimiser. The losses of the vocoder treat the discriminators
as constants, and the loss of the discriminators treats vocoded speech as a constant, so each side gets the gradient
that it would get alone. Published trainings update both in turn, this one at the same time: a run then counts, clips,
saves and resumes like every other run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from spectron.audio.mel import LogMel, MelConfig, padding_mask
from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch
from spectron.contracts import Vocoder
from spectron.losses.waveform import discriminator_hinge, feature_matching, generator_hinge, stft_distances
from spectron.ranges import CountOrZero, NonNegative, checks_ranges
from spectron.training.base import OPTIMISATION, TrainingModule
from spectron.training.optimisation import Optimisation
from spectron.vocoders.discriminators import Discriminators, DiscriminatorSettings


@checks_ranges
@dataclass
class VocoderLossWeights:
    """Weights of a vocoder's losses.

    Args:
        mel: Of the mean absolute log-mel difference.
        stft: Of the multi-resolution STFT distance.
        generator: Of the adversarial loss of the vocoder.
        features: Of the differences in the discriminators' features.
        adversarial_from_step: First step with discriminators; before it only the spectrogram losses count.
    """

    mel: NonNegative = 45.0
    stft: NonNegative = 10.0
    generator: NonNegative = 1.0
    features: NonNegative = 2.0
    adversarial_from_step: CountOrZero = 0


MEL, DISCRIMINATORS, WEIGHTS = MelConfig(), DiscriminatorSettings(), VocoderLossWeights()


class VocoderModel(nn.Module):
    """Vocoder with its discriminators and the spectrogram that it inverts."""

    def __init__(self, vocoder: Vocoder, discriminators: DiscriminatorSettings) -> None:
        super().__init__()
        self.vocoder = vocoder
        self.discriminators = Discriminators(discriminators)
        self.log_mel = LogMel(cast(MelConfig, vocoder.format))

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Convert recordings (B, S) to a spectrogram (B, T, M), (B,) valid frames, and vocoded speech (B, S)."""
        mel, num_frames = self.log_mel(waveform, num_samples)
        vocoded, _ = self.vocoder(mel, num_frames)
        # The last frame may reach beyond the end of a recording.
        return (
            mel,
            num_frames,
            vocoded[:, : waveform.shape[1]].masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0),
        )


class VocoderModule(TrainingModule):
    """Task that trains a vocoder on the continuations of the data module.

    Args:
        vocoder: Builds the vocoder from ``mel``.
        mel: Settings of the spectrogram that the vocoder inverts.
        discriminators: Settings of the discriminators.
        loss_weights: Weights of the losses.
        optimisation: Adam, its schedule, what is frozen.
    """

    model: VocoderModel

    def __init__(
        self,
        vocoder: Callable[[MelConfig], Vocoder],
        mel: MelConfig = MEL,
        discriminators: DiscriminatorSettings = DISCRIMINATORS,
        loss_weights: VocoderLossWeights = WEIGHTS,
        optimisation: Optimisation = OPTIMISATION,
    ) -> None:
        super().__init__()
        self.loss_weights = loss_weights
        self.set_up(VocoderModel(vocoder(mel), discriminators), optimisation)

    def sample_rates(self) -> SampleRates:
        """Return the rate of the spectrogram; there is no prompt."""
        rate = self.model.vocoder.format.sample_rate_hz
        return SampleRates(rate, rate)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        return {"val/loss", "val/mel", "val/stft"}

    def loss_terms(self, batch: SpeechBatch) -> dict[str, LossTerm]:
        """Compute ``mel`` per value of the spectrogram, ``stft`` per recording, and the adversarial losses.

        The adversarial losses are computed in training only, from ``adversarial_from_step`` on.
        """
        recorded, num_samples = batch.continuation, batch.continuation_num_samples
        mel, num_frames, vocoded = self.model(recorded, num_samples)
        again, _ = self.model.log_mel(vocoded, num_samples)
        terms = {"mel": LossTerm((again - mel).abs().sum(), num_frames.sum() * mel.shape[2])}
        # At validation rows are whole recordings: one by one, so that no STFT includes padding of the shorter ones.
        pieces = [slice(None)] if self.training else [slice(row, row + 1) for row in range(len(recorded))]
        longest = [int(num_samples[piece].max()) for piece in pieces]
        distances = [
            stft_distances(vocoded[piece, :length], recorded[piece, :length])
            for piece, length in zip(pieces, longest, strict=True)
        ]
        whole = torch.cat([convergence + logarithmic for convergence, logarithmic in distances]).sum()
        terms["stft"] = LossTerm(whole, torch.tensor(len(recorded), device=recorded.device))
        if self.training and self.global_step >= self.loss_weights.adversarial_from_step:
            terms |= self.adversarial_terms(recorded, vocoded)
        return terms

    def adversarial_terms(self, recorded: Tensor, vocoded: Tensor) -> dict[str, LossTerm]:
        """Compute the adversarial losses of vocoder and discriminators, of recordings and vocoded copies (B, S)."""
        judges = self.model.discriminators
        with constant(judges):
            seen = judges(vocoded)
        both = judges(torch.cat([recorded, vocoded.detach()]))
        half = len(recorded)
        real_scores, other_scores = [scores[:half] for scores, _ in both], [scores[half:] for scores, _ in both]
        real_features = [[layer[:half] for layer in features] for _, features in both]
        values = {
            "generator": generator_hinge([scores for scores, _ in seen]),
            "features": feature_matching(real_features, [features for _, features in seen]),
            "discriminators": discriminator_hinge(real_scores, other_scores),
        }
        return {name: LossTerm(value, torch.ones_like(value)) for name, value in values.items()}

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Compute the weighted sum of the terms; the discriminators have one loss, which needs no weight."""
        w = self.loss_weights
        weights = {
            "mel": w.mel,
            "stft": w.stft,
            "generator": w.generator,
            "features": w.features,
            "discriminators": 1.0,
        }
        return torch.stack([weight * means[name] for name, weight in weights.items() if name in means]).sum()

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order."""
        mel, _, vocoded = self.model(batch.continuation, batch.continuation_num_samples)
        return {
            "recording (B, S)": tuple(batch.continuation.shape),
            "mel (B, T, M)": tuple(mel.shape),
            "vocoded (B, S)": tuple(vocoded.shape),
        }


@contextmanager
def constant(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
