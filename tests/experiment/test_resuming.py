"""Comparison of configurations for a resume."""

import json

import pytest
import torch

from spectron.experiment.resuming import DATA_KEY, changed_data, changes_training, is_free, without_observers

CURVE = {"class_path": "spectron.tracking.reference_curves.ReferenceCurve", "init_args": {"file": "x.yaml"}}
TIMER = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {}}


def test_without_observers_removes_by_class_not_key():
    config = {"name": "x", "callbacks": {"any_name": CURVE, "reference_curve": TIMER}}
    assert without_observers(config) == {"name": "x", "callbacks": {"reference_curve": TIMER}}


def test_class_that_no_longer_exists_changes_training():
    assert changes_training({"class_path": "spectron.gone.Callback"})


@pytest.mark.parametrize(
    ("key", "free"),
    [
        ("trainer.max_steps", True),
        ("tracking.folder", True),
        ("data.init_args.batching.num_workers", True),
        ("data.init_args.batching.seed", False),
        ("trainer.max_steps_x", False),
        ("seed", False),
    ],
)
def test_is_free_matches_whole_keys(key, free):
    assert is_free(key) == free


@pytest.mark.parametrize("stored_in", ["checkpoint", "facts", "nothing"])
def test_changed_data_are_named_with_old_and_new_hash(tmp_path, stored_in):
    """Checkpoints of an earlier version have no hashes: those of the run are compared."""
    before, now = {"a.jsonl": "1" * 64, "b.txt": "2" * 64, "c": "3"}, {"a.jsonl": "1" * 64, "b.txt": "4" * 64, "d": "5"}
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir()
    torch.save({DATA_KEY: before} if stored_in == "checkpoint" else {}, checkpoint)
    if stored_in == "facts":
        (tmp_path / "facts.json").write_text(json.dumps({"data": before}))
    changes = {"b.txt": ("2" * 12, "4" * 12), "c": ("3", "nothing"), "d": ("nothing", "5")}
    assert changed_data(checkpoint, now) == ({} if stored_in == "nothing" else changes)
    assert changed_data(checkpoint, before) == {}
