"""Tasks around speech tokenizers: codebooks by k-means, and spectrograms of codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from spectron.audio.codes import CodeFormat
from spectron.audio.mel import LogMel, padding_mask
from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch
from spectron.contracts import SpeechEncoder
from spectron.errors import DataError
from spectron.processes.ranks import everyone
from spectron.randomness import seed_of
from spectron.ranges import Range, Seed, checks_ranges
from spectron.tokenizers import SpeechTokenizer
from spectron.tokenizers.tokenizer import Outside
from spectron.tokenizers.unit import quantised
from spectron.training.base import OPTIMISATION, TrainingModule
from spectron.training.optimisation import Optimisation
from spectron.vocoders.code_mel import CodesToMel


class Codebooks(nn.Module):
    """Codebooks (Q, K, D) and the number of frames (Q, K) that each centroid has been drawn towards."""

    codebooks: Tensor
    counts: Tensor

    def __init__(self, levels: int, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(levels, size, width))
        self.register_buffer("counts", torch.zeros(levels, size))

    def left(self, features: Tensor, update: Callable[[int, Tensor], None] | None = None) -> list[Tensor]:
        """Return what each level leaves of features (T, D), each (T, D); ``update`` sees what a level gets first."""
        rest = []
        for level in range(len(self.codebooks)):
            if update is not None:
                update(level, features)
            _, features = quantised(features, self.codebooks[level])
            rest.append(features)
        return rest


class CodebookModel(nn.Module):
    """Encoder, the codebooks of its features, and the parameter that counts steps."""

    def __init__(self, encoder: SpeechEncoder, levels: int, size: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.codebooks = Codebooks(levels, size, encoder.output_dim)
        # Lightning counts the steps of an optimiser, which needs a parameter. K-means has no gradient.
        self.steps = nn.Parameter(torch.zeros(()))


@checks_ranges
class CodebookModule(TrainingModule):
    """Task that fits the codebooks of an encoder's features by mini-batch k-means, level after level.

    One level gives units (GSLM); several levels give a residual quantiser. A step is one ``partial_fit`` of
    scikit-learn's ``MiniBatchKMeans`` for each level, on all frames of the batch. Logged are ``inertia``, the mean
    squared distance of a frame from what its codes stand for, and ``explained``, the share of the features' variance.

    Args:
        encoder: Encoder of the features; it stays as it is.
        size: Codes K of a codebook.
        levels: Codebooks Q.
        seed: Seed of the first centroids and of those that replace unused ones.
        optimisation: Settings of an optimiser that has nothing to do; leave it out.
    """

    model: CodebookModel

    def __init__(
        self,
        encoder: SpeechEncoder,
        size: Annotated[int, Range(2, 65_536)] = 100,
        levels: Annotated[int, Range(1, 64)] = 1,
        seed: Seed = 0,
        optimisation: Optimisation = OPTIMISATION,
    ) -> None:
        super().__init__()
        self.size, self.seed = size, seed
        self.set_up(CodebookModel(encoder, levels, size), optimisation)

    def sample_rates(self) -> SampleRates:
        """Return the encoder's rate; there is no continuation."""
        return SampleRates(self.model.encoder.sample_rate_hz, self.model.encoder.sample_rate_hz)

    def measure_names(self) -> set[str]:
        """Return the validation measures that this task logs."""
        return {"val/loss", "val/inertia", "val/explained"}

    def features(self, batch: SpeechBatch) -> Tensor:
        """Encode the recordings of a batch, and return their frames (T, D)."""
        with torch.no_grad():
            features, num_steps = self.model.encoder(batch.prompt, batch.prompt_num_samples)
        return features[~padding_mask(num_steps, features.shape[1])].float()

    def loss_terms(self, batch: SpeechBatch) -> dict[str, LossTerm]:
        """Compute ``inertia`` and ``explained``; in training, first move the centroids."""
        features = self.features(batch)
        rest = self.model.codebooks.left(features, self.update if self.training else None)[-1]
        inertia, count = rest.square().sum(), torch.tensor(len(features), device=features.device)
        spread = (features - features.mean(0)).square().sum().clamp(min=1e-12)
        explained = (1 - inertia / spread) * count
        return {
            "inertia": LossTerm(inertia + 0 * self.model.steps, count),
            "explained": LossTerm(explained, count),
        }

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Return the inertia."""
        return means["inertia"]

    def update(self, level: int, features: Tensor) -> None:
        """Move the centroids of a level towards the frames (T, D) of all processes.

        Raises:
            DataError: if the first batch has fewer frames than there are centroids.
        """
        rows = numpy.concatenate(everyone(features.cpu().numpy()))
        books = self.model.codebooks
        if not books.counts[level].any() and len(rows) < self.size:
            raise DataError(
                f"the first batch has {len(rows)} frames for {self.size} centroids. Raise the data's batch_seconds, or "
                "lower model.size"
            )
        centroids, counts = partial_fit(
            rows,
            books.codebooks[level].cpu().numpy(),
            books.counts[level].cpu().numpy(),
            seed_of(self.seed, self.global_step, level) % 2**32,
        )
        books.codebooks[level] = torch.from_numpy(centroids)
        books.counts[level] = torch.from_numpy(counts)

    def on_train_end(self) -> None:
        """Report centroids that no frame was ever near."""
        unused = int((self.model.codebooks.counts == 0).sum())
        if unused:
            rank_zero_warn(f"{unused} of {self.model.codebooks.counts.numel()} centroids are unused. Lower model.size")

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order."""
        return {
            "audio (B, S)": tuple(batch.prompt.shape),
            "frames (T, D)": tuple(self.features(batch).shape),
            "codebooks (Q, K, D)": tuple(self.model.codebooks.codebooks.shape),
        }


def partial_fit(
    rows: numpy.ndarray, centroids: numpy.ndarray, counts: numpy.ndarray, seed: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return centroids (K, D) and their counts (K,) after one more batch of rows (T, D); counts of 0 choose them first.

    The state is given and returned, so that a checkpoint holds all of it and a resumed fit goes on exactly. The counts
    are a private attribute of scikit-learn; a test compares with a fit without a pause.
    """
    from sklearn.cluster import MiniBatchKMeans

    started = bool(counts.any())
    kmeans = MiniBatchKMeans(
        len(centroids), init=centroids if started else "k-means++", n_init=1, random_state=seed, compute_labels=False
    )
    if started:
        kmeans.partial_fit(centroids)  # sets up the object, whose state is replaced now
        kmeans.cluster_centers_, kmeans._counts = centroids.copy(), counts.copy()
    kmeans.partial_fit(rows)
    return kmeans.cluster_centers_, numpy.asarray(kmeans._counts, numpy.float32)


class CodesToMelModel(nn.Module):
    """Network from codes to a spectrogram; the tokenizer is no part of it."""

    def __init__(self, to_mel: CodesToMel, tokenizer: SpeechTokenizer) -> None:
        super().__init__()
        self.to_mel = to_mel
        self.outside = Outside(tokenizer)
        self.log_mel = LogMel(to_mel.mel)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the predicted and the true log-mel (B, T, M) of recordings (B, S), and their (B,) common frames."""
        codes, num_codes = self.outside.on(waveform.device)(waveform, num_samples)
        predicted, num_predicted = self.to_mel(codes, num_codes)
        true, num_frames = self.log_mel(waveform, num_samples)
        longest = min(predicted.shape[1], true.shape[1])
        return predicted[:, :longest], true[:, :longest], torch.minimum(num_predicted, num_frames)


class CodesToMelModule(TrainingModule):
    """Task that trains the spectrogram of codes on the continuations of the data module.

    Args:
        to_mel: Network that makes the spectrogram.
        tokenizer: Makes the codes.
        optimisation: Adam, its schedule, what is frozen.
    """

    model: CodesToMelModel

    def __init__(
        self,
        to_mel: Callable[[CodeFormat], CodesToMel],
        tokenizer: SpeechTokenizer,
        optimisation: Optimisation = OPTIMISATION,
    ) -> None:
        super().__init__()
        self.set_up(CodesToMelModel(to_mel(tokenizer.format), tokenizer), optimisation)

    def sample_rates(self) -> SampleRates:
        """Return the tokenizer's rate; there is no prompt."""
        rate = self.model.to_mel.format.sample_rate_hz
        return SampleRates(rate, rate)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        return {"val/loss", "val/mel"}

    def loss_terms(self, batch: SpeechBatch) -> dict[str, LossTerm]:
        """Compute ``mel``, the mean absolute difference of log-mel values."""
        predicted, true, num_frames = self.model(batch.continuation, batch.continuation_num_samples)
        away = (predicted.float() - true).abs().mean(2).masked_fill(padding_mask(num_frames, true.shape[1]), 0.0)
        return {"mel": LossTerm(away.sum(), num_frames.sum())}

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Return the difference."""
        return means["mel"]

    def shapes(self, batch: SpeechBatch) -> dict[str, Any]:
        """Return tensor shapes through the model, in order."""
        predicted, _, _ = self.model(batch.continuation, batch.continuation_num_samples)
        return {"recording (B, S)": tuple(batch.continuation.shape), "mel (B, T, M)": tuple(predicted.shape)}
