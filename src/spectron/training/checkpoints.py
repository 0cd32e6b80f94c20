"""Checkpoints from which training goes on exactly: written between steps, with nothing half done in them.

Lightning's own counters, optimisers and schedules are saved as they are but for the corrections in ``_mark_between_steps``;
verified with lightning 2.6 in ``tests/test_resume.py``. What is drawn at random in a step depends on the seed and the step only
(``SeedEachStep``), so no generator states need saving.
"""

from __future__ import annotations

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

from spectron.errors import CheckpointError, ConfigError
from spectron.randomness import seed_of
from spectron.weights.checkpoint_files import read_checkpoint


@dataclass
class CheckpointSettings:
    """Which checkpoints a run writes; ``last.ckpt`` is always among them.

    Args:
        every_n_steps: Optimiser steps between writes of ``last.ckpt``.
        keep: How many of these also stay as ``step-*.ckpt``, the newest ones.
        monitor: Metric whose best validation is kept as ``best.ckpt``; None keeps none.
        mode: Whether the smallest or the largest value of ``monitor`` is best.

    Raises:
        ConfigError: if ``every_n_steps`` is below 1 or ``keep`` below 0.
    """

    every_n_steps: int = 500
    keep: int = 0
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.every_n_steps < 1 or self.keep < 0:
            raise ConfigError(
                f"every_n_steps must be at least 1 and keep at least 0, got {self.every_n_steps} and {self.keep}"
            )


class SeedEachStep(Callback):
    """Seeds all generators before each step from the run's seed, the step's number and the rank.

    Dropout and the like then depend on nothing that happened before, such as a validation, a resume, or the number of workers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch (all devices), numpy and random."""
        seed = seed_of(self.seed, "step", _counts(trainer).started, trainer.global_rank)
        torch.manual_seed(seed)
        numpy.random.seed(seed % 2**32)
        random.seed(seed)


class Checkpoints(Callback):
    """Saves the run before its first step, every so many steps, at its best, and when it ends or is asked to stop.

    The first Ctrl-C ends training after the step at hand and saves; a second one ends it at once, leaving the checkpoint before.

    Args:
        settings: Which checkpoints to write.
        folder: Where to; by default ``checkpoints`` in the logger's folder.
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
        """The checkpoint to go on from."""
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """What decides the next checkpoints."""
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on deciding as before."""
        self.best, self.saved_step = state_dict["best"], state_dict["saved_step"]
        self._resumed = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the folder, and take over Ctrl-C before data workers are forked: they inherit this and live on until the save."""
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
                rank_zero_info("Stopping after this step; Ctrl-C once more stops at once.")

        # Signals belong to the main thread; in another one Ctrl-C is not ours to handle.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, ask_to_stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        self._ended = True
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put a resumed run where it was."""
        self._training = True
        if not self._resumed:
            return
        # Lightning takes a checkpoint written after a validation for one written during it, and would spend a turn of its loop on it.
        trainer.fit_loop.epoch_loop.reset_restart_stage()
        for name, parameter in pl_module.named_parameters():
            if name in self._gradients:
                parameter.grad = self._gradients[name].to(parameter.device)
        self._gradients = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that there is something to compare; other callbacks may still be measuring."""
        self._validated = not trainer.sanity_checking

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save what the steps so far have made, where it is due: nothing is half done now.

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
        """Save where training was stopped between steps; in the middle of one, the checkpoint before is the last good one."""
        between = self._training and not trainer.validating and _can_save(trainer)
        if between and not isinstance(exception, CheckpointError) and trainer.global_step != self.saved_step:
            self._save(trainer)
        self._training = False
        self._ended = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Correct Lightning's counters, and add gradients that wait for the rest of their accumulation."""
        if not self._training or not _between_steps(trainer):
            return
        _mark_between_steps(trainer, checkpoint["loops"]["fit_loop"])
        if not _accumulated(trainer):
            gradients = {
                name: parameter.grad for name, parameter in pl_module.named_parameters() if parameter.grad is not None
            }
            checkpoint["gradients"] = gradients

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep waiting gradients until the model is on its device."""
        self._gradients = checkpoint.get("gradients", {})

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether the validation since the last call is the best so far."""
        name, validated, self._validated = self.settings.monitor, self._validated, False
        if name is None or not validated:
            return False
        measure = getattr(trainer.logger, "measures", {}).get(name)
        value = (
            float(trainer.callback_metrics[name])
            if name in trainer.callback_metrics
            else measure.value
            if measure
            else float("nan")
        )
        if value != value:
            rank_zero_warn(f"checkpoints.monitor: this validation gave no value of {name}; best.ckpt stays as it is")
            return False
        better = self.best is None or (value < self.best if self.settings.mode == "min" else value > self.best)
        self.best = value if better else self.best
        return better

    def _save(self, trainer: Trainer, best: bool = False, keep: bool = False) -> None:
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.last, weights_only=False)
        if not trainer.is_global_zero:
            return
        if not self._checked:
            # Better to learn now than at the resume that a part of the state cannot be read back.
            read_checkpoint(self.last, mmap=True)
            self._checked = True
        if best:
            _share(self.last, self.folder / "best.ckpt")
        if keep and self.settings.keep:
            _share(self.last, self.folder / f"step-{self.saved_step:07d}.ckpt")
            for old in sorted(self.folder.glob("step-*.ckpt"))[: -self.settings.keep]:
                old.unlink()


def _share(source: Path, target: Path) -> None:
    """Give the content a second name at no cost: ``source`` is only ever replaced, never written into."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copy2(source, part)
    os.replace(part, target)


def _counts(trainer: Trainer) -> Any:
    """Lightning's counts of batches ready, started, processed and completed, over all epochs."""
    return trainer.fit_loop.epoch_loop.batch_progress.total


def _between_steps(trainer: Trainer) -> bool:
    counts = _counts(trainer)
    return counts.started == counts.processed == counts.completed


def _accumulated(trainer: Trainer) -> bool:
    """Whether no gradient waits for further batches."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed % trainer.accumulate_grad_batches == 0


def _can_save(trainer: Trainer) -> bool:
    """Whether a checkpoint written now is exact; each rank has gradients of its own, so several wait until none are kept."""
    return _between_steps(trainer) and (_accumulated(trainer) or trainer.world_size == 1)


def _mark_between_steps(trainer: Trainer, state: dict[str, Any]) -> None:
    """Make Lightning's loop state say that all batches so far are done and the next has not been begun."""
    batches = state["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        # The batch at hand has been fetched and not used: it is fetched again.
        counts["ready"] = counts["completed"]
    batches["is_last_batch"] = False
    if _accumulated(trainer):
        # On loading, Lightning counts one more, for the usual case of a checkpoint written before its own count.
        state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    if trainer.num_training_batches == float("inf"):
        # An endless epoch does not end because the trainer stops.
        for counts in state["epoch_progress"].values():
            counts["processed"] = counts["completed"] = counts["started"] - 1
