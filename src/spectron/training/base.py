"""Base of all training tasks under Lightning: steps, summed validation losses, optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from spectron.batch import LossTerm, SpeechBatch
from spectron.errors import ConfigError
from spectron.training.optimisation import Optimisation, configure, freeze, keep_frozen_in_eval, require_finite

OPTIMISATION = Optimisation()


class TrainingModule(LightningModule, ABC):
    """Base of a training task: sums validation losses, checks for finite values, keeps frozen parts in eval mode.

    A task calls ``set_up`` with its model and defines ``loss_terms`` and ``total``.
    """

    model: torch.nn.Module
    optimisation: Optimisation

    def set_up(self, model: torch.nn.Module, optimisation: Optimisation) -> None:
        """Store the model and freeze the parameters that the settings name."""
        self.model = model
        self.optimisation = optimisation
        self.sums: dict[str, LossTerm] = {}
        freeze(model, optimisation.freeze)
        keep_frozen_in_eval(model)  # Lightning does not call ``train()`` at the start of a fit: it keeps the modes

    @abstractmethod
    def loss_terms(self, batch: Any) -> dict[str, LossTerm]:
        """Compute the named losses of a batch, as sums and counts."""

    @abstractmethod
    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Compute the loss to minimise from the means of the terms."""

    def batch_ids(self, batch: Any) -> list[str]:
        """Return the names of a batch's items, for error messages."""
        return batch.ids if isinstance(batch, SpeechBatch) else list(batch)

    def measure_names(self) -> set[str]:
        """Return the metrics that this task logs at validation and that a ``monitor`` may name."""
        return {"val/loss"}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Compute the loss of a step; None, which changes no weight, for a batch without readable items."""
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
        """Stop before a gradient that is not finite changes the weights; a gradient scaler skips such steps itself."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            require_finite(norm, "the gradient norm", self.global_step, self.last_ids)
            self.log("train/gradient_norm", norm)

    def on_validation_epoch_start(self) -> None:
        """Reset the sums of the last validation."""
        self.sums = {}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the sums and counts of a batch."""
        if not self.batch_ids(batch):
            return
        for name, term in self.loss_terms(batch).items():
            self.sums[name] = self.sums[name] + term if name in self.sums else term

    def on_validation_epoch_end(self) -> None:
        """Divide sums by counts once, over all batches and ranks."""
        reduce = self.trainer.strategy.reduce
        sums = {
            n: LossTerm(reduce(t.total, reduce_op="sum"), reduce(t.count, reduce_op="sum"))
            for n, t in sorted(self.sums.items())
        }
        if not sums:
            return
        means = {name: term.mean for name, term in sums.items()}
        self.log_dict({f"val/{name}": value for name, value in means.items()})
        self.log("val/loss", self.total(means), prog_bar=True)

    def train(self, mode: bool = True) -> TrainingModule:
        """Set training mode for all parts except the frozen ones."""
        super().train(mode)
        if mode and hasattr(self, "model"):
            keep_frozen_in_eval(self.model)
        return self

    def configure_optimizers(self) -> Any:
        """Build Adam and its schedule.

        Raises:
            ConfigError: if the cosine schedule has no last step.
        """
        if self.trainer.max_steps < 0 and self.optimisation.schedule == "cosine":
            raise ConfigError(
                "the cosine schedule ends at trainer.max_steps, which is not set. Set it, or choose inverse_sqrt",
                key="optimisation.schedule",
            )
        return configure(self.model, self.optimisation, self.trainer.max_steps)
