"""What progress looks like in a file and on a terminal."""

import io
import re
import time

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset

from spectron.progress import Progress


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(1)


class Toy(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch, batch_idx):
        time.sleep(0.02)
        loss = self.weight.square().sum()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        time.sleep(0.4)
        self.log("val/loss", 0.5, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def output_of(stream):
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
    trainer.fit(Toy(), DataLoader(Endless(), batch_size=None), DataLoader([torch.zeros(1)], batch_size=None))
    return stream.getvalue()


def test_a_file_gets_whole_lines():
    text = output_of(io.StringIO())
    assert "\r" not in text
    lines = text.splitlines()
    assert len(lines) > 4
    pattern = r"step (\d+)/20 \(\d+%\)  train/loss [\d.e-]+  lr 2.50e-01  ([\d.]+) steps/s(  \d:\d\d:\d\d left)?"
    shown = [re.fullmatch(pattern, line) for line in lines if not re.fullmatch(r"step (10|20)  validated in 0\.\d s  val/loss 0.5", line)]
    assert all(shown)
    assert len(lines) - len(shown) == 2
    assert shown[-1].group(1) == "20"
    # 0.02 s a step; with the 0.4 s of a validation counted in, intervals of 0.1 s would show fewer than 15.
    assert all(15 < float(match.group(2)) <= 50 for match in shown)


def test_a_terminal_gets_one_line_rewritten():
    text = output_of(Terminal())
    assert text.count("\n") == 3, "two validations and the end"
    assert "\rstep 10/20 (50%)" in text
    assert "validating" in text
    assert max(map(len, re.split("[\r\n]", text))) < 80
    assert text.endswith("\n")
