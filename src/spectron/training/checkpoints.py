"""Checkpoints for an exact resume: they are written between steps, so that no step is half done in them.

Lightning saves its counters, optimisers and schedules; ``lightning_internals.py`` corrects the counters. The random
numbers of a step depend only on the seed and the step (``SeedEachStep``), so no state of a generator is saved.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from spectron.errors import CheckpointError, TrainingError
from spectron.randomness import seed_of
from spectron.ranges import Count, CountOrZero, Seed, checks_ranges
from spectron.training.lightning_internals import (
    batch_counts,
    is_accumulated,
    is_between_steps,
    mark_between_steps,
    skip_restart_of_validation,
)
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
    """Callback that saves the run before its first step, at intervals, after its best validation, and when it ends.

    The first Ctrl-C ends training after the current step and saves. A second one ends it at once; the last checkpoint
    written before it stays.

    Args:
        settings: Choice of the checkpoints.
        folder: Folder to write to; by default ``checkpoints`` in the logger's folder.
    """

    def __init__(self, settings: CheckpointSettings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder or Path()
        self.folder_given = folder is not None
        self.best: float | None = None
        self.saved_step = -1
        self._validated = self._training = self._checked = self._resumed = self._stop_asked = self._ended = False
        self._gradients: dict[str, Tensor] = {}
        self._handler: Any = None

    @property
    def last(self) -> Path:
        """Path of the checkpoint to resume from."""
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """Return the values that decide about the next checkpoints."""
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the values that decide about the next checkpoints."""
        self.best, self.saved_step = state_dict["best"], state_dict["saved_step"]
        self._resumed = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder and handle Ctrl-C.

        The handler is set before data workers are forked: they inherit it and stay alive until the checkpoint is saved.
        """
        if stage != "fit":
            return
        if not self.folder_given:
            self.folder = trainer.strategy.broadcast(
                Path(trainer.logger.log_dir or ".") / "checkpoints" if trainer.logger else Path()
            )
        process = os.getpid()
        self._ended = self._stop_asked = False
        self._handler = previous = signal.getsignal(signal.SIGINT)

        def ask_to_stop(signum: int, frame: Any) -> None:
            # Lightning may put this handler back after training has ended.
            if (self._ended or self._stop_asked) and callable(previous):
                previous(signum, frame)
            self._stop_asked = True
            if os.getpid() == process:
                rank_zero_info("Stopping after this step; a second Ctrl-C stops at once.")

        # Only the main thread may handle signals.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, ask_to_stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the previous handler of Ctrl-C."""
        self._ended = True
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore loop and gradients of a resumed run."""
        self._training = True
        if not self._resumed:
            return
        skip_restart_of_validation(trainer)
        for name, parameter in pl_module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there are new values to compare; later callbacks may still be measuring."""
        self._validated = not trainer.sanity_checking

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save the steps so far if a checkpoint is due: no step is half done now.

        Raises:
            KeyboardInterrupt: if the user asked to stop.
        """
        if self._stop_asked:
            raise KeyboardInterrupt
        if not _can_save(trainer):
            return
        step = trainer.global_step
        best = self._is_best(trainer)
        due = step % self.settings.every_n_steps == 0 and step != self.saved_step
        if best or due:
            self._save(trainer, best=best, keep=due)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of training."""
        if _can_save(trainer):
            best = self._is_best(trainer)
            if best or trainer.global_step != self.saved_step:
                self._save(trainer, best=best, keep=True)
        self._training = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save if training stopped between two steps; within a step, the previous checkpoint is the last good one."""
        between = self._training and not trainer.validating and _can_save(trainer)
        is_new = not isinstance(exception, CheckpointError) and trainer.global_step != self.saved_step
        if between and is_new and weight_not_finite(pl_module) is None:
            self._save(trainer)
        self._training = False
        self._ended = True

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

    def _is_best(self, trainer: Trainer) -> bool:
        """Return whether the validation since the last call is the best so far."""
        name, validated, self._validated = self.settings.monitor, self._validated, False
        if name is None or not validated:
            return False
        measure = getattr(trainer.logger, "measures", {}).get(name)
        value = float(trainer.callback_metrics.get(name, measure.value if measure else math.nan))
        if math.isnan(value):
            rank_zero_warn(f"checkpoints.monitor: this validation has no value of {name}; best.ckpt is unchanged")
            return False
        better = self.best is None or (value < self.best if self.settings.mode == "min" else value > self.best)
        self.best = value if better else self.best
        return better

    def _save(self, trainer: Trainer, best: bool = False, keep: bool = False) -> None:
        """Write ``last.ckpt``, and share it under the names of the other checkpoints.

        Raises:
            TrainingError: if the weights are not finite; the checkpoints stay as they are.
        """
        if name := weight_not_finite(trainer.lightning_module):
            raise TrainingError(
                f"{name} is not finite at step {trainer.global_step}. The last checkpoint is good. Start a new run "
                "with a lower learning rate, more warmup_steps, or trainer.gradient_clip_val"
            )
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.last, weights_only=False)
        if not trainer.is_global_zero:
            return
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
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copy2(source, part)
    os.replace(part, target)


def _can_save(trainer: Trainer) -> bool:
    """Return whether a checkpoint written now is exact.

    Each rank has its own gradients, and a checkpoint holds those of one rank: several ranks wait until none are kept.
    """
    return is_between_steps(trainer) and (is_accumulated(trainer) or trainer.world_size == 1)
