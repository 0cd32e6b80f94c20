"""Training of Spectron under Lightning: steps, sums, optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor

from spectron.audio.mel import MelConfig
from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch, TeacherForced
from spectron.contracts import Decoding, LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.errors import ConfigError
from spectron.losses import NAMINGS
from spectron.model import SpectronModel, text_alone
from spectron.optimisation import Optimisation, configure, freeze, keep_frozen_in_eval, require_finite
from spectron.positions import TellsLengths, TellsLines, require_room_for_decoding, require_room_for_speech, require_room_for_text


@dataclass
class LossWeights:
    """Weights of the total loss; the defaults are the paper's (L_CE + 0.1 L_recon).

    ``text_only`` weighs batches of text alone, where the data have any. ``alignment`` weighs the naming of the word that is being
    said, ``spelling`` that of its letter: additions of ours for data with word times, not computed at 0.
    """

    text: float = 1.0
    speech: float = 0.1
    text_only: float = 1.0
    alignment: float = 0.0
    spelling: float = 0.0


WEIGHTS, OPTIMISATION = LossWeights(), Optimisation()


class TrainingModule(LightningModule, ABC):
    """What every trainable task shares: summed validation losses, finite numbers, frozen parts in eval, the optimiser.

    A task calls ``set_up`` with its model and defines ``loss_terms`` and ``total``.
    """

    model: torch.nn.Module
    optimisation: Optimisation

    def set_up(self, model: torch.nn.Module, optimisation: Optimisation) -> None:
        """Take the model and freeze what the settings name."""
        self.model = model
        self.optimisation = optimisation
        self.sums: dict[str, LossTerm] = {}
        freeze(model, optimisation.freeze)
        keep_frozen_in_eval(model)  # Lightning does not call ``train()`` when a fit begins: it takes the modes that it finds

    @abstractmethod
    def loss_terms(self, batch: Any) -> dict[str, LossTerm]:
        """The named losses of a batch, as sums and counts."""

    @abstractmethod
    def total(self, means: dict[str, Tensor]) -> Tensor:
        """The loss to minimise, from the means of the terms."""

    def batch_ids(self, batch: Any) -> list[str]:
        """Names of a batch's items, for error messages."""
        return batch.ids if isinstance(batch, SpeechBatch) else list(batch)

    def measure_names(self) -> set[str]:
        """Metrics that this task logs at validation and that a ``monitor`` may name."""
        return {"val/loss"}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """One step; None, which moves no weight, where no item of the batch could be read."""
        ids = self.last_ids = self.batch_ids(batch)
        if not ids:
            return None
        means = {name: term.mean for name, term in self.loss_terms(batch).items()}
        loss = self.total(means)
        require_finite(loss.detach(), "the loss", self.global_step, ids)
        self.log_dict({f"train/{name}": value.detach() for name, value in means.items()})
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a gradient that is not finite moves the weights (a gradient scaler skips such steps itself)."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            require_finite(norm, "the gradient norm", self.global_step, self.last_ids)
            self.log("train/gradient_norm", norm)

    def on_validation_epoch_start(self) -> None:
        """Forget the sums of the last validation."""
        self.sums = {}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add a batch's sums and counts."""
        if not self.batch_ids(batch):
            return
        for name, term in self.loss_terms(batch).items():
            old = self.sums.get(name)
            self.sums[name] = term if old is None else LossTerm(old.total + term.total, old.count + term.count)

    def on_validation_epoch_end(self) -> None:
        """Divide once, over all batches and ranks."""
        reduce = self.trainer.strategy.reduce
        sums = {n: LossTerm(reduce(t.total, reduce_op="sum"), reduce(t.count, reduce_op="sum")) for n, t in sorted(self.sums.items())}
        if not sums:
            return
        means = {name: term.mean for name, term in sums.items()}
        self.log_dict({f"val/{name}": value for name, value in means.items()})
        self.log("val/loss", self.total(means), prog_bar=True)

    def train(self, mode: bool = True) -> TrainingModule:
        """Training mode for all but the frozen parts."""
        super().train(mode)
        if mode and hasattr(self, "model"):
            keep_frozen_in_eval(self.model)
        return self

    def configure_optimizers(self) -> Any:
        """Adam and its schedule."""
        if self.trainer.max_steps < 0 and self.optimisation.schedule == "cosine":
            raise ConfigError("the cosine schedule ends at trainer.max_steps: set it, or take `schedule: inverse_sqrt`")
        return configure(self.model, self.optimisation, self.trainer.max_steps)


class SpectronModule(TrainingModule):
    """Trains a ``SpectronModel`` on pairs of prompt and continuation.

    Args:
        encoder: See ``SpectronModel``.
        language_model: See ``SpectronModel``.
        head: See ``SpectronModel``.
        vocoder: See ``SpectronModel``.
        prefix_attention: See ``SpectronModel``.
        text_mark: See ``SpectronModel``.
        chain: See ``SpectronModel``.
        own_past: See ``SpectronModel``.
        loss_weights: Weights of text and speech in the total.
        optimisation: Adam, its schedule, what is frozen.
    """

    model: SpectronModel

    def __init__(
        self,
        encoder: SpeechEncoder,
        language_model: LanguageModel,
        head: Callable[[int], SpeechHead],
        vocoder: Callable[[MelConfig], Vocoder],
        prefix_attention: Literal["causal", "both_ways"] = "both_ways",
        text_mark: str = " ",
        chain: Literal["written", "none", "null"] = "written",
        own_past: float = 0.0,
        loss_weights: LossWeights = WEIGHTS,
        optimisation: Optimisation = OPTIMISATION,
    ) -> None:
        super().__init__()
        self.loss_weights = loss_weights
        self.set_up(SpectronModel(encoder, language_model, head, vocoder, prefix_attention, text_mark, chain, own_past), optimisation)

    def sample_rates(self) -> SampleRates:
        """Rates at which the data module should give prompts and continuations."""
        return SampleRates(self.model.prompt_rate_hz, self.model.speech_rate_hz)

    def measure_names(self) -> set[str]:
        """Validation losses that this task logs."""
        names = {"loss", "text", "text_accuracy", "text_only", *NAMINGS} | self.model.speech_loss_names()
        return {f"val/{name}" for name in names}

    def require_room(self, data: Any, decodings: list[Decoding]) -> None:
        """See ``positions.ChecksRoom``."""
        if isinstance(data, TellsLengths):
            require_room_for_speech(self.model, data.lengths())
            for decoding in decodings:
                require_room_for_decoding(self.model, data.lengths(validation_only=True), decoding)
        if isinstance(data, TellsLines):
            require_room_for_text(self.model.language_model, data.lines())

    def loss_terms(self, batch: SpeechBatch | list[str]) -> dict[str, LossTerm]:
        """Losses of text and speech, and the share of text tokens that are the likeliest; of lines of text, theirs alone."""
        if isinstance(batch, list):
            return {"text_only": text_alone(self.model.language_model, batch)}
        predicted = self.model(batch)
        right = (predicted.text_logits.argmax(-1) == predicted.text_targets) & predicted.text_valid
        accuracy = LossTerm(right.sum().float(), predicted.text_valid.sum())
        named = [name for name in NAMINGS if getattr(self.loss_weights, name) > 0]
        return {**self.model.losses(predicted), "text_accuracy": accuracy, **self.model.naming_losses(predicted, batch, named)}

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """L_CE plus the weighted speech loss (and namings); of a batch of text alone, its own, which validation keeps apart."""
        if "text" not in means:
            return self.loss_weights.text_only * means["text_only"]
        loss = self.loss_weights.text * means["text"] + self.loss_weights.speech * means["speech"]
        return loss + sum(getattr(self.loss_weights, what) * means[what] for what in NAMINGS if what in means)

    def teacher_forced_mel(self, batch: SpeechBatch) -> tuple[Tensor, Tensor]:
        """The spectrogram (B, T, M) that the model predicts from the true past, and its (B,) valid frames."""
        predicted: TeacherForced = self.model(batch)
        steps = self.model.predicted_steps(predicted.speech_hidden)
        mel, _ = self.model.head.spectrogram(steps, predicted.speech_targets.num_steps)
        return mel, predicted.speech_targets.num_frames

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Tensor shapes through the model, in order, with the axes named."""
        p = self.model(batch)
        return {
            "prompt (B, S)": tuple(batch.prompt.shape),
            "prefix (B, U, D)": tuple(p.prefix.shape),
            "text logits (B, N + 1, V)": tuple(p.text_logits.shape),
            "continuation (B, S')": tuple(batch.continuation.shape),
            "mel (B, T, M)": tuple(p.speech_targets.mel.shape),
            "speech steps (B, K, F)": tuple(p.speech_targets.steps.shape),
            "speech hidden (B, K, D)": tuple(p.speech_hidden.shape),
        }
