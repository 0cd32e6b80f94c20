"""SLURM jobs: a job that ends is saved and requeued, and resumes the run that it began and no other."""

import signal

import pytest
import torch
from places import TINY

from spectron.errors import Interrupted
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.tracking.store import list_runs
from spectron.training.slurm import requeued_job, slurm_job
from spectron.weights.checkpoint_files import read_checkpoint

JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1"}
RANKS = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.fixture
def job(tmp_path, monkeypatch, runs):
    """A batch job in an empty folder, and the file to which the command of the scheduler writes its arguments."""
    for name, value in (JOB | RANKS).items():
        monkeypatch.setenv(name, value)
    asked, command = tmp_path / "asked", tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return asked


def weights(outcome):
    return read_checkpoint(outcome.folder / "checkpoints" / "last.ckpt")["state_dict"]


def same(one, other):
    return all(torch.equal(weights(one)[name], weights(other)[name]) for name in weights(one))


def test_job_is_saved_requeued_and_resumed_by_itself_alone(job, tmp_path, monkeypatch):
    experiment = Experiment.read(TINY, ["name=job"])
    whole = fit(experiment)
    step = experiment.task.training_step

    def signalled(self, batch, batch_idx):
        if batch_idx == 2:
            signal.raise_signal(signal.SIGUSR1)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(experiment.task, "training_step", signalled)
        with pytest.raises(Interrupted):
            fit(Experiment.read(TINY, ["name=job"]))
    assert job.read_text() == "requeue 4711\n"
    assert list((tmp_path / "work").iterdir()) == []
    interrupted = list_runs("job")[0]
    assert read_checkpoint(interrupted.last_checkpoint)["global_step"] == 3

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    other_seed = fit(Experiment.read(TINY, ["name=job", "seed=4"]))
    resumed = fit(Experiment.read(TINY, ["name=job"]))
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    other_job = fit(Experiment.read(TINY, ["name=job"]))
    assert resumed.run_id == interrupted.run_id
    assert same(resumed, whole)
    assert len({whole.run_id, interrupted.run_id, other_seed.run_id, other_job.run_id}) == 4
    assert len(list_runs("job")) == 4


def test_checkpoint_of_lightning_in_current_folder_is_not_loaded(job, tmp_path):
    (tmp_path / "work" / "hpc_ckpt_1.ckpt").write_text("of another run")
    fit(Experiment.read(TINY, ["name=fresh"]))


@pytest.mark.parametrize(
    ("variables", "job", "requeued"),
    [
        ({}, None, None),
        (JOB, "4711", None),
        (JOB | {"SLURM_RESTART_COUNT": "2"}, "4711", "4711"),
        (JOB | {"SLURM_RESTART_COUNT": "1", "SLURM_JOB_NAME": "interactive"}, None, None),
        (JOB | {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}, "17_3", None),
    ],
)
def test_job_is_known_by_its_environment(monkeypatch, variables, job, requeued):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (slurm_job(), requeued_job()) == (job, requeued)
