"""Attributes of Lightning that are not part of its public interface."""

import lightning
import pytest
from lightning.pytorch import Trainer
from packaging.version import Version

from spectron.training.lightning_internals import TESTED


@pytest.fixture(scope="module")
def trainer():
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


def test_installed_version_is_tested():
    lowest, limit = map(Version, TESTED)
    assert lowest <= Version(lightning.__version__) < limit


def test_batch_progress_has_counts(trainer):
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for counts in (progress.total, progress.current):
        assert (counts.ready, counts.started, counts.processed, counts.completed) == (0, 0, 0, 0)


def test_epoch_loop_resets_restart_stage(trainer):
    assert callable(trainer.fit_loop.epoch_loop.reset_restart_stage)


def test_state_of_fit_loop_has_corrected_keys(trainer):
    state = trainer.fit_loop.state_dict()
    assert {"ready", "completed"} <= state["epoch_loop.batch_progress"]["total"].keys()
    assert {"ready", "completed"} <= state["epoch_loop.batch_progress"]["current"].keys()
    assert state["epoch_loop.batch_progress"]["is_last_batch"] is False
    assert state["epoch_loop.state_dict"] == {"_batches_that_stepped": 0}
    assert all({"started", "processed", "completed"} <= counts.keys() for counts in state["epoch_progress"].values())


def test_connector_knows_distributed_sampler(trainer):
    """``datamodules/streaming.py`` reads this attribute."""
    assert trainer._accelerator_connector.use_distributed_sampler is True
