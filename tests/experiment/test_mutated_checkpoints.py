"""Damaged checkpoints and exports are loaded, resumed and evaluated, or refused with an error for the user."""

import json
import random
import traceback

import pytest
from checkpoint_mutations import copied, mutate_checkpoint, mutate_export
from lightning.pytorch import seed_everything
from prompts import syllables
from talker import TALKER

from spectron.audio.io import write_wav
from spectron.errors import SpectronError
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import KeepOrigin, restore_counters
from spectron.experiment.loading import find_source, load_experiment, load_speaker, restore
from spectron.experiment.resuming import changed_data, changes_since
from spectron.inference.model_config import model_of
from spectron.tracking.store import RunRecord
from spectron.weights.exporting import export_parts

CASES, RESUMED, SEED = 60, 25, 20
REST = """
data:
  class_path: spectron.datamodules.ContinuationDataModule
  init_args: {manifest: "${here}/manifest.jsonl", batching: {num_workers: 0}, splitting: {prompt_seconds: 0.5}}
trainer:
  max_steps: 1
  accelerator: cpu
  num_sanity_val_steps: 0
  limit_val_batches: 0
  enable_progress_bar: false
  enable_model_summary: false
tracking: {folder: "${here}/runs"}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a run of one step, whose experiment is ``train.yaml`` next to it, and of its export."""
    home = tmp_path_factory.mktemp("trained")
    (home / "text.txt").write_text("the cat sat on the mat\n" * 50)
    lines = []
    for place, split in enumerate(("train", "train", "dev")):
        write_wav(home / f"u{place}.wav", syllables(2.0, 16000), 16000)
        words = [["the", 0.1, 0.4], ["cat", 0.6, 0.9], ["sat", 1.1, 1.4], ["on", 1.5, 1.9]]
        line = {"id": f"u{place}", "audio_filepath": f"u{place}.wav", "text": "the cat sat on", "split": split}
        lines.append(json.dumps(line | {"words": words, "duration": 2.0}) + "\n")
    (home / "manifest.jsonl").write_text("".join(lines))
    (home / "train.yaml").write_text(TALKER + REST)
    experiment = Experiment.read(home / "train.yaml")
    folder = home / "run"
    resume(experiment, folder, None)
    source = find_source(str(folder))
    export_parts(
        model_of(restore(load_experiment(source, model_only=True), source)), experiment.stored_config, home / "export"
    )
    return folder


def resume(experiment, folder, checkpoint):
    """Train an experiment, from a checkpoint if there is one."""
    seed_everything(1, verbose=False)
    trainer = experiment.trainer([KeepOrigin(experiment.stored_config, {"manifest.jsonl": "0" * 64})])
    checkpoints = trainer.callbacks[-1]
    checkpoints.folder, checkpoints.folder_given = folder / "checkpoints", True
    data, module = experiment.data(), experiment.module()
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer


class Refusals:
    """Number of damaged files that were refused, and the errors that a user cannot mend, with their last lines."""

    def __init__(self):
        self.count, self.tracebacks = 0, []

    def of(self, read):
        """Use a damaged file."""
        try:
            read()
        except SpectronError as error:
            str(error).encode()
            self.count += 1
        except BaseException:
            self.tracebacks.append(traceback.format_exc(limit=-4))

    def counted(self):
        """Return the number of refusals if there was no other error."""
        assert not self.tracebacks, f"{len(self.tracebacks)} tracebacks\n" + "\n".join(self.tracebacks[:30])
        return self.count


def use_checkpoint(path, experiment):
    """Do with a checkpoint what ask, continue, evaluate, export and the start of fit --resume do."""
    source = find_source(str(path))
    load_speaker(source)
    load_experiment(source)
    record = RunRecord("r", "r", "talker", "FINISHED", 0, path.parent.parent, {}, {}, {})
    changes_since(record, experiment)
    changed_data(path, {"manifest.jsonl": "0" * 64})
    restore_counters(experiment.trainer(), path)


def damage_checkpoint(run, folder, seed, cases):
    """Damage a checkpoint and use it; return the number of refusals."""
    draw, refusals = random.Random(seed), Refusals()
    experiment = Experiment.read(run.parent / "train.yaml")
    for _ in range(cases):
        path = copied(run, folder / "run") / "checkpoints" / "last.ckpt"
        mutate_checkpoint(path, draw)
        refusals.of(lambda path=path: use_checkpoint(path, experiment))
    return refusals.counted()


def damage_resumed(run, folder, seed, cases):
    """Damage a checkpoint and resume from it; return the number of refusals."""
    draw, refusals = random.Random(seed), Refusals()
    experiment = Experiment.read(run.parent / "train.yaml", ["trainer.max_steps=2"])
    for _ in range(cases):
        path = copied(run, folder / "run") / "checkpoints" / "last.ckpt"
        mutate_checkpoint(path, draw)
        refusals.of(lambda path=path: resume(experiment, folder / "run", path))
    return refusals.counted()


def damage_export(run, folder, seed, cases):
    """Damage an export and load it; return the number of refusals."""
    draw, refusals = random.Random(seed), Refusals()
    for _ in range(cases):
        export = copied(run.parent / "export", folder / "export")
        mutate_export(export, draw)

        def read(export=export):
            source = find_source(str(export))
            load_speaker(source)
            load_experiment(source)

        refusals.of(read)
    return refusals.counted()


def test_damaged_checkpoint_is_loaded_or_refused(run, tmp_path):
    assert CASES / 3 < damage_checkpoint(run, tmp_path, SEED, CASES) < CASES


def test_damaged_checkpoint_is_resumed_or_refused(run, tmp_path):
    assert RESUMED / 3 < damage_resumed(run, tmp_path, SEED, RESUMED) <= RESUMED


def test_sound_checkpoint_and_export_are_used(run, tmp_path):
    experiment = Experiment.read(run.parent / "train.yaml", ["trainer.max_steps=2"])
    path = run / "checkpoints" / "last.ckpt"
    use_checkpoint(path, experiment)
    assert resume(experiment, tmp_path / "run", path).global_step == 2
    load_speaker(find_source(str(run.parent / "export")))


def test_damaged_export_is_loaded_or_refused(run, tmp_path):
    assert CASES / 3 < damage_export(run, tmp_path, SEED, CASES) < CASES
