"""Exact resume: a killed, stopped or extended run has the losses of an uninterrupted run, batch by batch."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from spectron.datamodules.text_lines import TextDataModule
from spectron.errors import CheckpointError, TrainingError
from spectron.randomness import seed_of
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings, SeedEachStep
from spectron.weights.checkpoint_files import read_checkpoint

ACCUMULATE, VALIDATE_EVERY, STEPS, WIDTH = 2, 6, 12, 8


class Endless(IterableDataset):
    """Endless stream: batch i depends on i alone."""

    def __init__(self, start, width):
        self.start, self.width = start, width

    def __iter__(self):
        position = self.start
        while True:
            generator = torch.Generator().manual_seed(seed_of("batch", position))
            yield position, torch.randn(4, self.width, generator=generator)
            position += 1


class Stream(LightningDataModule):
    """Data module that stores the position of its stream."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.position, self.width = 0, width

    def train_dataloader(self):
        return DataLoader(Endless(self.position, self.width), batch_size=None)

    def val_dataloader(self):
        return DataLoader([torch.ones(2, self.width), torch.zeros(2, self.width)], batch_size=None)

    def state_dict(self):
        return {"position": self.trainer.fit_loop.epoch_loop.batch_progress.total.completed}

    def load_state_dict(self, state_dict):
        self.position = state_dict["position"]


class Toy(LightningModule):
    """Task with all state that a resume must restore: dropout, momentum, schedule, accumulation, running statistics."""

    def __init__(self, events, width=WIDTH, end=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, 1))
        self.events, self.end = events, end

    def training_step(self, batch, batch_idx):
        position, inputs = batch
        loss = self.net(inputs).square().mean()
        rate = self.optimizers().param_groups[0]["lr"]
        self.log("loss", loss)
        if self.end and position == self.end[0]:
            self.end[1]()
        self.events("step", position, batch_idx, self.global_step, rate, loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        torch.rand(7)
        self.log("val", self.net(batch).square().mean(), batch_size=2)

    def on_validation_end(self):
        self.events("validation", self.global_step, float(self.trainer.callback_metrics["val"]))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class StoppedWhileValidating(Toy):
    """Task that is stopped in the first batch of the validation after a step."""

    def __init__(self, events, width, end):
        super().__init__(events, width)
        self.stop = end

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if batch_idx == 0 and self.global_step == self.stop[0]:
            self.stop[1]()


class Points(Logger):
    """Logger that notes the metrics and steps that MLflow would get."""

    name, version = "toy", "0"

    def __init__(self, events):
        super().__init__()
        self.events = events

    def log_metrics(self, metrics, step=None):
        self.events("logged", step, sorted((name, value) for name, value in metrics.items() if name != "epoch"))

    def log_hyperparams(self, params, *args, **kwargs):
        """Toy has none."""


class Reader(Toy):
    """Task that learns from lines of text, and notes each line."""

    def training_step(self, batch, batch_idx):
        return super().training_step((batch_idx, self.inputs(batch)), batch_idx) + 0 * self.events("read", *batch)

    def validation_step(self, batch, batch_idx):
        super().validation_step(self.inputs(batch), batch_idx)

    def inputs(self, lines):
        return torch.stack(
            [torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed_of(line))) for line in lines]
        )


def train(folder, events, resume=False, settings=None, steps=STEPS, width=WIDTH, end=None, kind=Toy, data=None):
    torch.manual_seed(1)
    checkpoints = Checkpoints(settings or CheckpointSettings(every_n_steps=2), folder)
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=VALIDATE_EVERY,
        check_val_every_n_epoch=None,
        accumulate_grad_batches=ACCUMULATE,
        log_every_n_steps=3,
        accelerator="cpu",
        callbacks=[SeedEachStep(17), checkpoints],
        plugins=[AtomicCheckpointIO()],
        logger=Points(events),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    checkpoint = checkpoints.last if resume else None
    trainer.fit(kind(events, width, end), datamodule=data or Stream(width), ckpt_path=checkpoint, weights_only=True)


class Events(list):
    def __call__(self, *event):
        self.append(event)
        return 0


def steps_of(events):
    return {event[1]: event for event in events if event[0] == "step"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    events = Events()
    train(tmp_path_factory.mktemp("whole"), events)
    return events


def fail():
    raise RuntimeError("lost")


def assert_same_ending(events, whole):
    """Assert that the resumed run repeats the last events of the whole run, in order and bit by bit."""
    assert events == whole[-len(events) :]


def test_toy_losses_all_differ(uninterrupted):
    losses = [event[5] for event in steps_of(uninterrupted).values()]
    rates = {event[4] for event in steps_of(uninterrupted).values()}
    assert len(losses) == STEPS * ACCUMULATE
    assert len(set(losses)) == len(losses)
    assert len(rates) == STEPS
    assert [event[1] for event in uninterrupted if event[0] == "validation"] == [3, 6, 9, 12]


# The checkpoint before the failure is written at the start, between validations, or right after one (steps 0, 2, 3, 6).
@pytest.mark.parametrize(
    ("every", "lost_at", "begins_at"), [(100, 5, 0), (2, 5, 4), (3, 7, 6), (3, 13, 12), (1, 12, 12), (1, 13, 12)]
)
def test_failed_run_resumes_exactly(tmp_path, uninterrupted, every, lost_at, begins_at):
    settings = CheckpointSettings(every_n_steps=every)
    with pytest.raises(RuntimeError, match="lost"):
        train(tmp_path, Events(), settings=settings, end=(lost_at, fail))
    events = Events()
    train(tmp_path, events, resume=True, settings=settings)
    assert min(steps_of(events)) == begins_at
    assert_same_ending(events, uninterrupted)


def test_killed_process_resumes_exactly(tmp_path, uninterrupted):
    process = subprocess.run([sys.executable, __file__, str(tmp_path), str(WIDTH), "9"], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    before = [tuple(json.loads(line)) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    events = Events()
    train(tmp_path, events, resume=True)
    assert min(steps_of(events)) == 8
    assert_same_ending(events, uninterrupted)
    assert steps_of(before)[7] == steps_of(uninterrupted)[7]


@pytest.mark.parametrize(("asked_at", "begins_at"), [(6, 7), (7, 8)])
def test_ctrl_c_saves_between_accumulated_batches(tmp_path, uninterrupted, asked_at, begins_at):
    before, events = Events(), Events()
    settings = CheckpointSettings(every_n_steps=100)
    with pytest.raises(SystemExit):
        train(tmp_path, before, settings=settings, end=(asked_at, lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert max(steps_of(before)) == asked_at
    assert ("gradients" in read_checkpoint(tmp_path / "last.ckpt")) == (begins_at % ACCUMULATE == 1)
    train(tmp_path, events, resume=True, settings=settings)
    assert min(steps_of(events)) == begins_at
    assert_same_ending(events, uninterrupted)


def test_sigterm_saves_between_steps(tmp_path, uninterrupted):
    events = Events()
    settings = CheckpointSettings(every_n_steps=100)
    with pytest.raises(SIGTERMException):
        train(tmp_path, Events(), settings=settings, end=(10, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    train(tmp_path, events, resume=True, settings=settings)
    assert min(steps_of(events)) == 11
    assert_same_ending(events, uninterrupted)


# The last validation is after the last step: the loop over the steps has nothing else to do.
@pytest.mark.parametrize("step", [3, STEPS])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stop_within_validation_keeps_step_and_repeats_validation(tmp_path, uninterrupted, step, signum):
    before, events, again = Events(), Events(), Events()
    settings = CheckpointSettings(every_n_steps=100)
    stop = step, lambda: os.kill(os.getpid(), signum)
    with pytest.raises(SystemExit):
        train(tmp_path, before, settings=settings, end=stop, kind=StoppedWhileValidating)
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == step
    train(tmp_path, events, resume=True, settings=settings)
    assert [event[1] for event in before if event[0] == "validation"] == list(range(3, step, 3))
    assert [event[0] for event in events[:2]] == ["logged", "validation"]
    assert_same_ending(events, uninterrupted)
    train(tmp_path, again, resume=True, settings=settings)
    assert again == [], "the finished run has nothing more to do"


def test_killed_within_validation_keeps_step(tmp_path, uninterrupted):
    events = Events()
    settings = CheckpointSettings(every_n_steps=100)
    with pytest.raises(RuntimeError, match="lost"):
        train(tmp_path, Events(), settings=settings, end=(6, fail), kind=StoppedWhileValidating)
    train(tmp_path, events, resume=True, settings=settings)
    assert events[1][:2] == ("validation", 6)
    assert_same_ending(events, uninterrupted)


def test_finished_run_extended_exactly(tmp_path, uninterrupted):
    events = Events()
    train(tmp_path, Events(), steps=5)
    train(tmp_path, events, resume=True)
    assert min(steps_of(events)) == 10
    assert_same_ending(events, uninterrupted)


@pytest.mark.parametrize(("every", "lost_at"), [(1, 4), (2, 7), (2, 13)])
def test_data_stream_resumes_exactly(tmp_path, every, lost_at):
    """Eight lines in batches of three: a pass over the lines may end within a step or at its end."""
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{word} line\n" for word in "abcdefgh"))

    def run(folder, events, **options):
        data = TextDataModule(str(lines), str(lines), batch_size=3)
        train(
            folder, events, settings=CheckpointSettings(every_n_steps=every), steps=8, kind=Reader, data=data, **options
        )

    whole, events = Events(), Events()
    run(tmp_path / "whole", whole)
    with pytest.raises(RuntimeError, match="lost"):
        run(tmp_path / "lost", Events(), end=(lost_at, fail))
    run(tmp_path / "lost", events, resume=True)
    # The last checkpoint was written at an interval or before a validation.
    assert min(steps_of(events)) == max(lost_at // batches * batches for batches in (2 * every, VALIDATE_EVERY))
    assert_same_ending(events, whole)
    assert {line for event in whole if event[0] == "read" for line in event[1:]} == set(lines.read_text().splitlines())


def test_nan_loss_keeps_last_good_checkpoint(tmp_path):
    def stop():
        raise TrainingError("the loss of batch 9 is nan")

    with pytest.raises(TrainingError):
        train(tmp_path, Events(), end=(9, stop))
    state = read_checkpoint(tmp_path / "last.ckpt")
    assert state["global_step"] == 4
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())


def test_kill_at_any_moment_leaves_loadable_checkpoint(tmp_path):
    last = tmp_path / "last.ckpt"
    chance = random.Random(3)
    process = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path), "700", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    # A checkpoint is written after each step here, so most of these reads, and the kill, happen during a write.
    for _ in range(40):
        time.sleep(chance.uniform(0, 0.03))
        assert "state_dict" in read_checkpoint(last)
    process.kill()
    process.wait()
    assert read_checkpoint(last)["global_step"] > 0


def test_full_disk_keeps_old_checkpoint(tmp_path, monkeypatch):
    store = AtomicCheckpointIO()
    store.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CheckpointError, match="No space left"):
        store.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert store.load_checkpoint(tmp_path / "last.ckpt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def run_until_killed(folder: Path, width: int, kill_at: int) -> None:
    """Train in its own process, which kills itself with SIGKILL in the middle of batch ``kill_at``."""
    log = (folder / "events.jsonl").open("w")

    def events(*event):
        log.write(json.dumps(event) + "\n")
        log.flush()

    settings = CheckpointSettings(every_n_steps=2 if kill_at >= 0 else 1)
    train(
        folder,
        events,
        settings=settings,
        steps=100_000,
        width=width,
        end=(kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    )


if __name__ == "__main__":
    run_until_killed(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
