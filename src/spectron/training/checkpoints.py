"""Checkpoints for an exact resume: they are written between steps, so that no step is half done in them.

Lightning saves its counters, optimisers and schedules; ``lightning_internals.py`` corrects the counters. The random
numbers of a step depend only on the seed and the step (``SeedEachStep``), so no state of a generator is saved.
"""

from __future__ import annotations

import math
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from spectron.errors import CheckpointError, TrainingError
from spectron.files import written_whole
from spectron.processes.ranks import all_or_none, everyone, of_first
from spectron.randomness import seed_of
from spectron.ranges import Count, CountOrZero, Seed, checks_ranges
from spectron.training.lightning_internals import (
    batch_counts,
    enter_finished_loop,
    is_accumulated,
    is_between_steps,
    mark_between_steps,
    skip_restart_of_validation,
    state_of,
    validate_now,
)
from spectron.training.stopping import Stopping
from spectron.weights.checkpoint_files import read_checkpoint
from spectron.weights.soundness import is_finite


@checks_ranges
@dataclass
class CheckpointSettings:
    """Choice of the checkpoints that a run writes; ``last.ckpt`` is always one of them.

    Args:
        every_n_steps: Optimiser steps between writes of ``last.ckpt``.
        keep: Number of the newest of these checkpoints that also stay as ``step-*.ckpt``.
        monitor: Metric; the checkpoint of its best validation is kept as ``best.ckpt``. None keeps none.
        mode: Whether the smallest or the largest value of ``monitor`` is best.
    """

    every_n_steps: Count = 500
    keep: CountOrZero = 0
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"


@checks_ranges
class SeedEachStep(Callback):
    """Callback that seeds all generators before each step from the run's seed, the step's number and the rank.

    Dropout then does not depend on earlier draws, such as those of a validation, a resume or the data workers.
    """

    def __init__(self, seed: Seed) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch (all devices), numpy and random."""
        seed = seed_of(self.seed, "step", batch_counts(trainer).started, trainer.global_rank)
        torch.manual_seed(seed)
        numpy.random.seed(seed % 2**32)
        random.seed(seed)


class Checkpoints(Callback):
    """Callback that saves the run before its first step, at intervals, around validations, and when it ends.

    A run that was saved before a validation begins with this validation when it is resumed. The first Ctrl-C ends
    training after the current step, or within a validation, and nothing is lost; so do the other signals of
    ``Stopping``. A second Ctrl-C ends it at once; the last checkpoint written before it stays.

    Args:
        settings: Choice of the checkpoints.
        folder: Folder to write to; by default ``checkpoints`` in the logger's folder.
    """

    def __init__(self, settings: CheckpointSettings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder or Path()
        self.folder_given = folder is not None
        self.best: float | None = None
        self.saved_step = self.saved_batches = -1
        self.validation_due = False  # whether the last checkpoint was written before a validation
        self._validated = self._training = self._checked = self._resumed = False
        self._batches_to_check = 0.0
        self._gradients: dict[str, Tensor] = {}
        self.stopping: Stopping

    @property
    def last(self) -> Path:
        """Path of the checkpoint to resume from."""
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """Return the values that decide about the next checkpoints."""
        return {name: getattr(self, name) for name in ("best", "saved_step", "saved_batches", "validation_due")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the values that decide about the next checkpoints."""
        for name, value in state_dict.items():
            setattr(self, name, value)
        self._resumed = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder and handle the signals that stop a run."""
        if stage in ("fit", "validate"):
            self.stopping = Stopping(trainer)
        if stage == "fit" and not self.folder_given:
            logger = trainer.logger
            self.folder = of_first(lambda: Path(logger.log_dir or ".") / "checkpoints" if logger else Path())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare a validation that was due after the last step."""
        if self._resumed and self.validation_due:
            enter_finished_loop(trainer, True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore loop and gradients of a resumed run, and validate if that was due."""
        self._training = True
        if not self._resumed:
            return
        skip_restart_of_validation(trainer)
        for name, parameter in pl_module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = {}
        if self.validation_due:
            enter_finished_loop(trainer, False)
            validate_now(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the steps so far, so that nothing that happens within the validation costs any of them."""
        # Processes may have different numbers of batches: only those that all of them have are followed by a decision.
        self._batches_to_check = min(everyone(_number_of(trainer)))
        if self._training and not self.validation_due and _can_save(trainer):
            due, self.validation_due = self._is_due(trainer), True
            self._save(trainer, keep=due)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End the validation if the user asked to stop.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SIGTERMException: after another signal.
        """
        if self._batches_to_check > 0 and self.stopping.asked_anywhere():
            raise self.stopping.stop()
        self._batches_to_check -= 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there are new values to compare; later callbacks may still be measuring."""
        self._validated = not trainer.sanity_checking

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save the steps so far if a checkpoint is due: no step is half done now.

        Raises:
            KeyboardInterrupt: if the user asked to stop with Ctrl-C.
            SIGTERMException: if the user asked with another signal.
        """
        stop = self.stopping.asked_anywhere()
        if not _can_save(trainer):
            return
        due, best = self._is_due(trainer), self._is_best(trainer)
        if best or due or (stop and not self._is_saved(trainer)):
            self.validation_due = False
            self._save(trainer, best=best, keep=due)
        self.validation_due = False
        if stop:
            raise self.stopping.stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of training."""
        if _can_save(trainer):
            best = self._is_best(trainer)
            if best or not self._is_saved(trainer):
                self.validation_due = False
                self._save(trainer, best=best, keep=True)
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if training failed between two steps; within a step, the previous checkpoint is the last good one.

        The first process saves without the others, which may be at any other place.
        """
        between = self._training and not trainer.validating and _can_save(trainer)
        lost = between and not self._is_saved(trainer) and not isinstance(exception, CheckpointError)
        if lost and trainer.is_global_zero and weight_not_finite(pl_module) is None:
            self._note_saved(trainer)
            self._write(trainer, state_of(trainer))
        self._training = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Correct Lightning's counters, and add the gradients of an incomplete accumulation."""
        if not self._training or not is_between_steps(trainer):
            return
        mark_between_steps(trainer, checkpoint["loops"]["fit_loop"])
        if not is_accumulated(trainer):
            gradients = {
                name: parameter.grad for name, parameter in pl_module.named_parameters() if parameter.grad is not None
            }
            checkpoint["gradients"] = gradients

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the gradients of an incomplete accumulation until the model is on its device."""
        self._gradients = checkpoint.get("gradients", {})

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether an interval ends with this step, and it is not saved yet."""
        return trainer.global_step % self.settings.every_n_steps == 0 and trainer.global_step != self.saved_step

    def _is_saved(self, trainer: Trainer) -> bool:
        """Return whether the last checkpoint has all batches so far and the validation after them."""
        return batch_counts(trainer).completed == self.saved_batches and not self.validation_due

    def _is_best(self, trainer: Trainer) -> bool:
        """Return whether the validation since the last call is the best so far, by the first process's value."""
        validated, self._validated = self._validated, False
        if self.settings.monitor is None or not validated:
            return False
        before, self.best = self.best, of_first(lambda: self._best_with(trainer))
        return self.best != before

    def _best_with(self, trainer: Trainer) -> float | None:
        """Return the best value so far, including that of the last validation."""
        name = self.settings.monitor or ""
        measure = getattr(trainer.logger, "measures", {}).get(name)
        value = float(trainer.callback_metrics.get(name, measure.value if measure else math.nan))
        if math.isnan(value):
            rank_zero_warn(f"checkpoints.monitor: this validation has no value of {name}; best.ckpt is unchanged")
            return self.best
        known = [value] if self.best is None else [value, self.best]
        return min(known) if self.settings.mode == "min" else max(known)

    def _save(self, trainer: Trainer, best: bool = False, keep: bool = False) -> None:
        """Save in all processes together: all give their state, the first one writes.

        Raises:
            TrainingError: if the weights are not finite; the checkpoints stay as they are.
        """
        if name := weight_not_finite(trainer.lightning_module):
            raise TrainingError(
                f"{name} is not finite at step {trainer.global_step}. The last checkpoint is good. Start a new run "
                "with a lower learning rate, more warmup_steps, or trainer.gradient_clip_val"
            )
        self._note_saved(trainer)
        with all_or_none():
            state = state_of(trainer)
        of_first(lambda: self._write(trainer, state, best, keep))

    def _note_saved(self, trainer: Trainer) -> None:
        self.saved_step, self.saved_batches = trainer.global_step, batch_counts(trainer).completed

    def _write(self, trainer: Trainer, state: dict[str, Any], best: bool = False, keep: bool = False) -> None:
        """Write ``last.ckpt``, and share it under the names of the other checkpoints."""
        trainer.strategy.checkpoint_io.save_checkpoint(state, self.last)
        if not self._checked:
            # Fail at the start, not at the resume, if a part of the state cannot be read back.
            read_checkpoint(self.last, mmap=True)
            self._checked = True
        if best:
            _share(self.last, self.folder / "best.ckpt")
        if keep and self.settings.keep:
            _share(self.last, self.folder / f"step-{self.saved_step:07d}.ckpt")
            for old in sorted(self.folder.glob("step-*.ckpt"))[: -self.settings.keep]:
                old.unlink()


def weight_not_finite(module: LightningModule) -> str | None:
    """Return the name of a trained parameter that contains NaN or infinity, or None."""
    trained = ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
    return next((name for name, parameter in trained if not is_finite(parameter)), None)


def _share(source: Path, target: Path) -> None:
    """Give a file a second name without a copy: ``source`` is only replaced, never written into."""
    with written_whole(target) as part:
        part.unlink()
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)


def _can_save(trainer: Trainer) -> bool:
    """Return whether a checkpoint written now is exact.

    Each rank has its own gradients, and a checkpoint holds those of one rank: several ranks wait until none are kept.
    """
    return is_between_steps(trainer) and (is_accumulated(trainer) or trainer.world_size == 1)


def _number_of(trainer: Trainer) -> float:
    """Return the number of batches of a validation in this process; 0 if it is unknown, as for a stream."""
    limits = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
    number = sum([limits] if isinstance(limits, int | float) else limits)
    return 0 if math.isinf(number) else number
