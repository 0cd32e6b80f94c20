"""Keys of the section ``trainer``: each of Lightning's arguments is honoured, ranged, or refused with a cure."""

import inspect
from typing import get_args

import pytest
from lightning import Trainer
from places import TINY

from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment
from spectron.experiment.trainer_keys import FIXED, HINTS, OWNED, TRAINER

# Tried one by one with an endless stream: these keep the meaning that Lightning gives them, also after a resume.
HONOURED = {
    "accelerator", "strategy", "devices", "num_nodes", "precision", "max_steps", "min_steps", "max_time",
    "limit_val_batches", "val_check_interval", "num_sanity_val_steps", "log_every_n_steps", "enable_progress_bar",
    "enable_model_summary", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "deterministic",
    "benchmark", "inference_mode", "profiler", "detect_anomaly", "sync_batchnorm", "enable_autolog_hparams",
}  # fmt: skip


def test_every_argument_of_lightning_is_decided():
    assert {*inspect.signature(Trainer).parameters} == HONOURED | {*OWNED} | {*FIXED}
    assert len(HONOURED) + len(OWNED) + len(FIXED) == len(inspect.signature(Trainer).parameters)


def test_every_number_has_a_range():
    numbers = {
        name for name, parameter in TRAINER.accepted().items() if {int, float} & {parameter.hint, *_all(parameter.hint)}
    }
    assert numbers <= {*HINTS} | {*FIXED} | {"max_time"}, "max_time holds parts of a timedelta"


def _all(hint):
    for argument in get_args(hint):
        yield argument
        yield from _all(argument)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", "3"), ("min_epochs", "1"), ("limit_train_batches", "2"), ("limit_train_batches", "1"),
        ("limit_train_batches", "0.5"), ("overfit_batches", "1"), ("overfit_batches", "0.1"),
        ("check_val_every_n_epoch", "1"), ("reload_dataloaders_every_n_epochs", "1"),
        ("use_distributed_sampler", "true"),
        ("limit_test_batches", "1"), ("limit_predict_batches", "1"), ("val_check_interval", "0"),
        ("val_check_interval", "1.0"), ("val_check_interval", "'00:00:10:00'"), ("limit_val_batches", "-1"),
        ("limit_val_batches", "1.5"), ("max_steps", "-2"), ("accumulate_grad_batches", "0"), ("devices", "-2"),
        ("num_sanity_val_steps", "-2"), ("log_every_n_steps", "-1"), ("gradient_clip_val", "-1.0"),
        ("gradient_clip_val", ".nan"), ("gradient_clip_algorithm", "nrom"), ("num_nodes", "0"), ("min_steps", "-1"),
    ],
)  # fmt: skip
def test_key_that_a_stream_cannot_honour_is_refused(key, value):
    with pytest.raises(ConfigError) as raised:
        Experiment.read(TINY, [f"trainer.{key}={value}"])
    assert (raised.value.key, raised.value.origin) == (f"trainer.{key}", "the command line")


@pytest.mark.parametrize(
    "override",
    [
        "max_epochs=-1", "max_epochs=null", "limit_train_batches=null", "limit_train_batches=1.0",
        "overfit_batches=0.0", "check_val_every_n_epoch=null", "limit_val_batches=0", "limit_val_batches=5",
        "limit_val_batches=0.5", "devices=auto", "devices=1", "gradient_clip_val=1", "max_steps=-1",
        "max_time='00:00:00:05'", "max_time={seconds: 5}", "num_sanity_val_steps=-1", "min_steps=2",
        "gradient_clip_algorithm=value",
    ],
)  # fmt: skip
def test_key_that_a_stream_honours_is_accepted(override):
    Experiment.read(TINY, [f"trainer.{override}"]).trainer()


WRONG = "max_time=soon|max_time={hours: 1e300}|max_time={moons: 1}|strategy=none_such|accelerator=abacus|devices=x"


@pytest.mark.parametrize("override", [*WRONG.split("|"), "profiler=none_such"])
def test_value_that_lightning_refuses_is_named(override):
    with pytest.raises(ConfigError) as raised:
        Experiment.read(TINY, [f"trainer.{override}"]).trainer()
    assert raised.value.key.split(".")[0] == "trainer"
