"""Base of all training tasks under Lightning: steps, losses over all batches and processes, optimiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from spectron.batch import LossTerm, SpeechBatch
from spectron.errors import ConfigError
from spectron.processes.ranks import everyone, world
from spectron.tracking.logger import RunLogger
from spectron.training.optimisation import Optimisation, configure, freeze, keep_frozen_in_eval, require_finite

OPTIMISATION = Optimisation()
DIVERGED_TAG = "spectron.diverged"
GROWTH = 10.0  # times the first loss, plus as much for losses near 0


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
        self.read_anything = False  # in any process since the last step of the optimiser
        self.first_loss: Tensor | None = None
        self.last_loss: Tensor | None = None
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

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss of a step over the batches of all processes; a batch without readable items adds nothing."""
        ids = self.last_ids = self.batch_ids(batch)
        terms = self.loss_terms(batch) if ids else {}
        means = means_over_processes(terms, self.device)
        loss = self.total(means) if means else torch.zeros((), device=self.device)
        if means:
            self.read_anything = True
            require_finite(loss.detach(), "the loss", self.global_step, ids)
            self.last_loss = loss.detach()
            self.first_loss = self.last_loss if self.first_loss is None else self.first_loss
            self.log_dict({f"train/{name}": value.detach() for name, value in means.items()})
            self.log("train/loss", loss.detach(), prog_bar=True)
        if not terms:  # a gradient of zero, for which other processes wait
            weights = [weight for weight in self.parameters() if weight.requires_grad]
            loss = loss + torch.stack([0 * weight.sum() for weight in weights]).sum()
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a gradient that is not finite changes the weights; a gradient scaler skips such steps itself.

        A step without any readable item changes no weight, although momentum would.
        """
        if not self.read_anything:
            optimizer.zero_grad()
        self.read_anything = False
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            require_finite(norm, "the gradient norm", self.global_step, self.last_ids)
            self.log("train/gradient_norm", norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the loss of the first step."""
        checkpoint["first_loss"] = None if self.first_loss is None else float(self.first_loss)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the loss of the first step."""
        self.read_anything = True  # perhaps: the checkpoint may hold gradients of an incomplete accumulation
        first = checkpoint.get("first_loss")
        self.first_loss = None if first is None else torch.tensor(first)

    def on_train_end(self) -> None:
        """Report a loss that has grown instead of fallen, and mark the run."""
        if self.first_loss is None or self.last_loss is None:
            return
        first, last = float(self.first_loss), float(self.last_loss)
        if last > GROWTH * abs(first) + GROWTH:
            rank_zero_warn(
                f"training diverged: train/loss was {first:.4g} at the first step and is {last:.4g} at the last. Lower "
                "model.optimisation.peak_learning_rate, or set trainer.gradient_clip_val, and start a new run"
            )
            if isinstance(self.trainer.logger, RunLogger):
                self.trainer.logger.set_tags({DIVERGED_TAG: f"train/loss {first:.6g} -> {last:.6g}"})

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
        """Divide sums by counts once, over all batches and processes."""
        self.sums = sums_over_processes(self.sums, self.device)
        if not self.sums:
            return
        means = {name: term.mean for name, term in sorted(self.sums.items())}
        # All processes have the same values already; ``sync_dist`` tells Lightning so.
        self.log_dict({f"val/{name}": value for name, value in means.items()}, sync_dist=True)
        self.log("val/loss", self.total(means), prog_bar=True, sync_dist=True)

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


def sums_over_processes(terms: dict[str, LossTerm], device: torch.device) -> dict[str, LossTerm]:
    """Add up the terms of all processes, without gradients; a process may lack some of them, or all."""
    if world() == 1:
        return terms
    sums: dict[str, list[float]] = {}
    for each in everyone({name: (float(term.total.detach()), float(term.count)) for name, term in terms.items()}):
        for name, (total, count) in each.items():
            known = sums.setdefault(name, [0.0, 0.0])
            sums[name] = [known[0] + total, known[1] + count]
    return {
        name: LossTerm(torch.tensor(total, device=device), torch.tensor(count, device=device))
        for name, (total, count) in sums.items()
    }


def means_over_processes(terms: dict[str, LossTerm], device: torch.device) -> dict[str, Tensor]:
    """Return the means of the terms over the batches of all processes, with gradients of this process's part.

    The processes' gradients are averaged later. Their parts are scaled so that this average is the gradient of one
    process with all the batches in one, in which an item counts by its tokens or frames and not by its process.
    """
    if world() == 1:
        return {name: term.mean for name, term in terms.items()}
    means = {}
    for name, over_all in sums_over_processes(terms, device).items():
        means[name] = over_all.mean
        if name in terms:
            part = terms[name].total * (world() / over_all.count.clamp(min=1))
            means[name] = means[name] + (part - part.detach())
    return means
