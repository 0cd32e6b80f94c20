"""Progress of training on a terminal, or as plain lines in a file: step of how many, losses, speed, time left."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import timedelta
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar


class Progress(ProgressBar):
    """Shows where training is; the trainer's ``max_steps`` is the whole, as the stream of batches has no end.

    A terminal gets one line that is rewritten. Anything else gets a new line every ``every_seconds``, and one after each validation.
    Speed is measured over the last interval and leaves validations out, so the time left is that of training alone.

    Args:
        every_seconds: Seconds between lines where the output is no terminal.
        stream: Where to write; by default standard error.
    """

    def __init__(self, every_seconds: float = 10.0, stream: TextIO | None = None) -> None:
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
        """Show nothing: Lightning asks for it on all ranks but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Show progress."""
        self.enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the progress."""
        self._write(" ".join(map(str, args)), final=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._shown_at, self._shown_step, self._paused = time.monotonic(), trainer.global_step, 0.0
        self._steps_per_second = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock again after a validation: only now has every callback done its part of it."""
        self._start_again()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step where it is time."""
        pause = 0.2 if self.terminal else self.every_seconds
        if time.monotonic() - self._shown_at - self._paused >= pause:
            self._show(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._validation_began = time.monotonic()
        if self.terminal and _within_training(trainer):
            self._write(self._line(trainer, pl_module) + "  validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a line with the validation's losses."""
        seconds = time.monotonic() - self._validation_began
        if _within_training(trainer):
            shown = "  ".join(
                f"{name} {value:.4g}" for name, value in trainer.progress_bar_metrics.items() if name.startswith("val")
            )
            self._write(f"step {trainer.global_step}  validated in {seconds:.1f} s  {shown}".rstrip(), final=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last step on a line of its own, where it does not stand there already."""
        self._start_again()
        if self._open_line or self._shown_step != trainer.global_step:
            self._show(trainer, pl_module, final=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the line, so that the error stands on its own."""
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
            # A terminal is rewritten so often that single intervals would make the speed flicker.
            self._steps_per_second = (
                0.9 * self._steps_per_second + 0.1 * speed if self.terminal and self._steps_per_second else speed
            )
        self._shown_at, self._shown_step, self._paused = now, step, 0.0
        self._write(self._line(trainer, pl_module), final)

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> str:
        step, steps = trainer.global_step, trainer.max_steps
        parts = [f"step {step}/{steps} ({step / steps:.0%})" if steps > 0 else f"step {step}"]
        # A validation's values stand on lines of their own.
        values = {
            name: value
            for name, value in self.get_metrics(trainer, pl_module).items()
            if not name.startswith(("val", "v_num"))
        }
        parts += [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
        ]
        if trainer.optimizers:
            rate = max(
                group["lr"] for group in trainer.optimizers[0].param_groups
            )  # parts may have their own; this is the schedule's
            parts.append(f"lr {rate:.2e}")
        if self._steps_per_second:
            parts.append(f"{self._steps_per_second:.2f} steps/s")
            if steps > step:
                parts.append(f"{timedelta(seconds=round((steps - step) / self._steps_per_second))} left")
        return "  ".join(parts)

    def _write(self, line: str, final: bool = False) -> None:
        """Rewrite the open line on a terminal, write a new one elsewhere or where it is ``final``."""
        if not self.enabled:
            return
        if self.terminal:
            # A line that wraps could not be rewritten.
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
