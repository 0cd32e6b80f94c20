"""Progress lines in a file and on a terminal."""

import io
import re

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from spectron.training.progress import Progress


class Clock:
    """Clock that only the toy task advances."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("spectron.training.progress.time", made)
    return made


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(1)


class Toy(LightningModule):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        self.clock.now += 0.02
        loss = self.weight.square().sum()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.clock.now += 0.4
        self.log("val/loss", 0.5, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def output_of(stream, clock):
    trainer = Trainer(
        max_steps=20,
        max_epochs=-1,
        val_check_interval=10,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        callbacks=[Progress(every_seconds=0.1, stream=stream)],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Toy(clock), DataLoader(Endless(), batch_size=None), DataLoader([torch.zeros(1)], batch_size=None))
    return stream.getvalue()


def test_file_gets_whole_lines(clock):
    text = output_of(io.StringIO(), clock)
    assert "\r" not in text
    validated = [line for line in text.splitlines() if "validated" in line]
    assert validated == ["step 10  validated in 0.4 s  val/loss 0.5", "step 20  validated in 0.4 s  val/loss 0.5"]
    pattern = r"step (\d+)/20 \(\d+%\)  train/loss [\d.e-]+  lr 2.50e-01  ([\d.]+) steps/s(  \d:\d\d:\d\d left)?"
    shown = [re.fullmatch(pattern, line) for line in text.splitlines() if "validated" not in line]
    assert [int(match.group(1)) for match in shown] == [5, 10, 15, 20]
    assert {match.group(2) for match in shown} == {"50.00"}, "validations do not count"
    assert [bool(match.group(3)) for match in shown] == [True, True, True, False]


def test_terminal_gets_one_rewritten_line(clock):
    text = output_of(Terminal(), clock)
    assert text.count("\n") == 2, "one for each validation"
    assert "\rstep 10/20 (50%)" in text
    assert "validating" in text
    assert max(map(len, re.split("[\r\n]", text))) < 80
    assert text.endswith("\n")
