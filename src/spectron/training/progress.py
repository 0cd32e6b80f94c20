"""Progress of training on a terminal, or as plain lines in a file: step and number of steps, losses, speed, time left.

Lightning's own bars lack this. ``TQDMProgressBar`` and ``RichProgressBar`` count the batches of an epoch, and an epoch
of an endless stream has no end: they show neither ``max_steps`` nor the time left. Their speed includes validations,
they do not show the learning rate, and they write one line of carriage returns to a file.
"""

from __future__ import annotations

import shutil
import sys
import time
from datetime import timedelta
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from spectron.ranges import NonNegative, checks_ranges
from spectron.terminal import visible
from spectron.tracking.measure import number


@checks_ranges
class Progress(ProgressBar):
    """Progress bar with the trainer's ``max_steps`` as its total.

    A terminal gets one line that is rewritten. A file gets a new line every ``every_seconds``, and one after each
    validation. The speed is measured over the last interval without validations, so the time left is that of training.

    Args:
        every_seconds: Seconds between lines if the output is no terminal.
        stream: Output; by default standard error.
    """

    def __init__(self, every_seconds: NonNegative = 10.0, stream: TextIO | None = None) -> None:
        super().__init__()
        self.every_seconds = every_seconds
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.enabled = True
        self._open_line = False
        self._shown_at = self._steps_per_second = self._paused = 0.0
        self._shown_step = self._width = 0
        self._validation_began = 0.0

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all ranks except the first."""
        self.enabled = False

    def enable(self) -> None:
        """Show progress."""
        self.enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the progress."""
        for line in " ".join(map(str, args)).split("\n"):
            self._write(line, final=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._shown_at, self._shown_step, self._paused = time.monotonic(), trainer.global_step, 0.0
        self._steps_per_second = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restart the clock after a validation, once every callback has finished it."""
        self._start_again()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step if the interval is over."""
        pause = 0.2 if self.terminal else self.every_seconds
        if time.monotonic() - self._shown_at - self._paused >= pause:
            self._show(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._validation_began = time.monotonic()
        if self.terminal and _within_training(trainer):
            self._write(self._line(trainer, pl_module) + "  validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a line with the losses of the validation."""
        seconds = time.monotonic() - self._validation_began
        if _within_training(trainer):
            shown = "  ".join(
                f"{name} {number(value, missing='nan')}"
                for name, value in trainer.progress_bar_metrics.items()
                if name.startswith("val")
            )
            self._write(f"step {trainer.global_step}  validated in {seconds:.1f} s  {shown}".rstrip(), final=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last step on its own line, unless it was the last one written."""
        self._start_again()
        if self._open_line or self._shown_step != trainer.global_step:
            self._show(trainer, pl_module, final=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the line, so that the error is on its own line."""
        if self._open_line:
            self.stream.write("\n")
            self._open_line = False

    def _start_again(self) -> None:
        if self._validation_began:
            self._paused += time.monotonic() - self._validation_began
            self._validation_began = 0.0

    def _show(self, trainer: Trainer, pl_module: LightningModule, final: bool = False) -> None:
        now, step = time.monotonic(), trainer.global_step
        seconds = now - self._shown_at - self._paused
        if step > self._shown_step and seconds > 0:
            speed = (step - self._shown_step) / seconds
            # A terminal is rewritten often: without smoothing, the speed would flicker.
            self._steps_per_second = (
                0.9 * self._steps_per_second + 0.1 * speed if self.terminal and self._steps_per_second else speed
            )
        self._shown_at, self._shown_step, self._paused = now, step, 0.0
        self._write(self._line(trainer, pl_module), final)

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> str:
        step, steps = trainer.global_step, trainer.max_steps
        parts = [f"step {step}/{steps} ({step / steps:.0%})" if steps > 0 else f"step {step}"]
        # The values of a validation have their own line.
        values = {
            name: value
            for name, value in self.get_metrics(trainer, pl_module).items()
            if not name.startswith(("val", "v_num"))
        }
        for name, value in values.items():
            parts.append(f"{name} {number(value, missing='nan') if isinstance(value, float) else value}")
        if trainer.optimizers:
            # Parts may have lower rates of their own: the highest is that of the schedule.
            rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
            parts.append(f"lr {rate:.2e}")
        if self._steps_per_second:
            parts.append(f"{self._steps_per_second:.2f} steps/s")
            if steps > step:
                parts.append(f"{timedelta(seconds=round((steps - step) / self._steps_per_second))} left")
        return "  ".join(parts)

    def _write(self, line: str, final: bool = False) -> None:
        """Rewrite the open line of a terminal; write a new line to a file, or if it is ``final``."""
        if not self.enabled:
            return
        line = visible(line)
        if self.terminal:
            # A terminal cannot rewrite a wrapped line.
            line = line[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + line.ljust(self._width))
        else:
            self.stream.write(line)
        if final or not self.terminal:
            self.stream.write("\n")
        self.stream.flush()
        self._open_line = self.terminal and not final
        self._width = len(line) if self._open_line else 0


def _within_training(trainer: Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking
