"""Checkpoints: when they are written, and files that are refused on reading."""

import random
import zipfile
from datetime import timedelta

import numpy
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader

from spectron.errors import CheckpointError, ConfigError, TrainingError
from spectron.tracking.measure import MetricValue
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings, SeedEachStep
from spectron.weights.checkpoint_files import read_checkpoint


class Toy(LightningModule):
    """Task of one weight with given validation losses."""

    def __init__(self, validations=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.validations = list(validations)
        self.draws = []

    def training_step(self, batch, batch_idx):
        self.draws.append((torch.rand(1).item(), numpy.random.rand(), random.random()))
        return (self.weight - 1).square().sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.validations.pop(0))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def endless():
    while True:
        yield torch.zeros(1)


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return endless()


def fit(module, checkpoints, steps, callbacks=(), logger=False, **options):
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        callbacks=[*callbacks, checkpoints],
        plugins=[AtomicCheckpointIO()],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1 if module.validations else 0,
        **options,
    )
    trainer.fit(module, DataLoader(Endless(), batch_size=None), DataLoader([torch.zeros(1)], batch_size=None))
    return trainer


def steps_in(folder):
    return {path.name: read_checkpoint(path)["global_step"] for path in folder.iterdir()}


def test_first_checkpoint_before_first_step(tmp_path):
    class Stop(Callback):
        def on_before_zero_grad(self, *_):
            raise RuntimeError("in the first step")

    with pytest.raises(RuntimeError, match="in the first step"):
        fit(Toy(), Checkpoints(CheckpointSettings(), tmp_path), 3, [Stop()])
    assert steps_in(tmp_path) == {"last.ckpt": 0}


def test_weights_not_finite_keep_last_checkpoint(tmp_path):
    class Overflow(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if trainer.global_step == 3:
                pl_module.weight.data.fill_(torch.inf)

    with pytest.raises(TrainingError, match="weight is not finite at step 3"):
        fit(Toy(), Checkpoints(CheckpointSettings(every_n_steps=1), tmp_path), 5, [Overflow()])
    assert steps_in(tmp_path) == {"last.ckpt": 2}


def test_keep_newest_checkpoints(tmp_path):
    fit(Toy(), Checkpoints(CheckpointSettings(every_n_steps=2, keep=2), tmp_path), 7)
    assert steps_in(tmp_path) == {"last.ckpt": 7, "step-0000006.ckpt": 6, "step-0000007.ckpt": 7}


@pytest.mark.parametrize(("mode", "best_step"), [("min", 3), ("max", 4)])
def test_best_checkpoint_has_validated_weights(tmp_path, mode, best_step):
    settings = CheckpointSettings(every_n_steps=100, monitor="val/loss", mode=mode)
    checkpoints = Checkpoints(settings, tmp_path)
    fit(Toy([3.0, 2.0, 1.0, 4.0, 1.0, 1.0]), checkpoints, 6)
    assert steps_in(tmp_path) == {"last.ckpt": 6, "best.ckpt": best_step}
    assert checkpoints.best == {"min": 1.0, "max": 4.0}[mode]
    weight = 1 - 0.8**best_step
    assert read_checkpoint(tmp_path / "best.ckpt")["state_dict"]["weight"].item() == pytest.approx(weight)


def test_monitor_metric_of_later_callback(tmp_path):
    class Evaluation(Callback):
        """Callback that measures after ``Checkpoints`` has seen the end of the validation."""

        def on_validation_end(self, trainer, pl_module):
            trainer.logger.measures = {
                "val/wer": MetricValue("val/wer", {1: 0.5, 2: 0.2, 3: 0.4}[trainer.global_step], 3)
            }

    class Measuring(DummyLogger):
        measures, log_dir = None, None

    checkpoints = Checkpoints(CheckpointSettings(every_n_steps=100, monitor="val/wer"), tmp_path)
    trainer_callbacks = [checkpoints, Evaluation()]
    fit(Toy([0.0, 0.0, 0.0]), trainer_callbacks[0], 3, [trainer_callbacks[1]], logger=Measuring())
    assert steps_in(tmp_path)["best.ckpt"] == 2


def test_missing_monitored_value_warns(tmp_path):
    with pytest.warns(UserWarning, match=r"this validation has no value of val/wer; best.ckpt is unchanged"):
        fit(Toy([1.0]), Checkpoints(CheckpointSettings(monitor="val/wer"), tmp_path), 1)
    assert steps_in(tmp_path) == {"last.ckpt": 1}


def test_max_time_saves(tmp_path):
    trainer = fit(
        Toy(), Checkpoints(CheckpointSettings(every_n_steps=10**6), tmp_path), -1, max_time=timedelta(seconds=0.3)
    )
    assert steps_in(tmp_path) == {"last.ckpt": trainer.global_step}
    assert trainer.global_step > 0


def test_unreadable_state_refused_at_start(tmp_path):
    class Careless(Callback):
        def state_dict(self):
            return {"started": timedelta(seconds=1)}

    with pytest.raises(CheckpointError, match="timedelta"):
        fit(Toy(), Checkpoints(CheckpointSettings(), tmp_path), 1, [Careless()])


def test_step_seed_independent_of_past_draws(tmp_path):
    first, second, other = Toy(), Toy(), Toy()
    fit(first, Checkpoints(CheckpointSettings(), tmp_path), 3, [SeedEachStep(1)])
    torch.rand(5), numpy.random.rand(5), random.random()
    fit(second, Checkpoints(CheckpointSettings(), tmp_path), 3, [SeedEachStep(1)])
    fit(other, Checkpoints(CheckpointSettings(), tmp_path), 3, [SeedEachStep(2)])
    assert first.draws == second.draws
    assert len({*first.draws, *other.draws}) == 6


def test_wrong_settings_refused():
    with pytest.raises(ConfigError) as raised:
        CheckpointSettings(every_n_steps=0)
    assert raised.value.key == "every_n_steps"


def test_read_checkpoint_broken_file_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*x.ckpt"):
        read_checkpoint(path)
    torch.save({"weight": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(path)


def test_read_checkpoint_with_code_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run!",)

    torch.save({"x": Evil()}, tmp_path / "x.ckpt")
    for load in (read_checkpoint, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(CheckpointError, match=r"more than tensors and plain values.*print"):
            load(tmp_path / "x.ckpt")
