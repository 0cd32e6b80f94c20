"""Comparison of configurations for a resume."""

import pytest

from spectron.experiment.resuming import changes_training, is_free, without_observers

CURVE = {"class_path": "spectron.tracking.reference_curves.ReferenceCurve", "init_args": {"file": "x.yaml"}}
TIMER = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {}}


def test_without_observers_removes_by_class_not_key():
    config = {"name": "x", "callbacks": {"any_name": CURVE, "reference_curve": TIMER}}
    assert without_observers(config) == {"name": "x", "callbacks": {"reference_curve": TIMER}}


def test_class_that_no_longer_exists_changes_training():
    assert changes_training({"class_path": "spectron.gone.Callback"})


@pytest.mark.parametrize(
    ("key", "free"),
    [("trainer.max_steps", True), ("tracking.folder", True), ("trainer.max_steps_x", False), ("seed", False)],
)
def test_is_free_matches_whole_keys(key, free):
    assert is_free(key) == free
