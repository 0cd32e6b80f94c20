"""Reference curves: written from runs, compared with later runs of the recipe, silent for other runs."""

import sys

import pytest
import yaml
from places import TINY

from spectron.cli.parser import main
from spectron.errors import ConfigError
from spectron.evaluation.study.study import training_of
from spectron.experiment.experiment import Experiment
from spectron.tracking.reference_curves import ReferenceCurve, band, curves_of, stretch_of
from spectron.tracking.store import TrackingSettings, find_run


@pytest.fixture(autouse=True)
def task_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(TINY.parent)])


@pytest.fixture(scope="module")
def file(runs, tmp_path_factory):
    """Written from two runs of two seeds."""
    path = tmp_path_factory.mktemp("curves") / "new" / "tiny.yaml"
    for seed in (3, 4):
        assert (
            main(
                [
                    "fit",
                    str(TINY),
                    f"seed={seed}",
                    "name=curved",
                    "trainer.max_steps=200",
                    "trainer.val_check_interval=100",
                ]
            )
            == 0
        )
    from spectron.tracking.store import list_runs

    assert main(["reference-curve", *(run.run_id for run in list_runs("curved")), "-o", str(path)]) == 0
    return path


def fit(tmp_path, file, *overrides):
    recipe = {"extends": str(TINY), "name": "curved", "trainer": {"max_steps": 200, "val_check_interval": 100}}
    recipe["callbacks"] = {
        "reference_curve": {
            "class_path": "spectron.tracking.reference_curves.ReferenceCurve",
            "init_args": {"file": str(file)},
        }
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return main(["fit", str(tmp_path / "recipe.yaml"), *overrides])


def test_file_content(file):
    content = yaml.safe_load(file.read_text())
    assert (content["experiment"], content["max_steps"], content["runs"], content["stretch"]) == ("curved", 200, 2, 100)
    assert set(content["bands"]["val/loss"]) == {100, 200}
    assert set(content["bands"]["train/loss"]) == {100, 200}
    assert all(low < high for steps in content["bands"].values() for low, high in steps.values())


def test_band_margin_grows_with_curve_range(file, monkeypatch, tmp_path):
    from spectron.tracking.store import list_runs

    monkeypatch.setattr("spectron.tracking.reference_curves.NOISE", 10.0)
    wide = tmp_path / "wide.yaml"
    assert main(["reference-curve", *(run.run_id for run in list_runs("curved")[:2]), "-o", str(wide)]) == 0
    (first, last), (wide_first, wide_last) = (
        list(yaml.safe_load(one.read_text())["bands"]["val/loss"].values()) for one in (file, wide)
    )
    assert wide_last[1] - wide_last[0] > 10 * abs(sum(first) - sum(last)) / 2
    assert wide_first[1] - wide_first[0] > last[1] - last[0]


def test_validation_band_uses_training_range(runs, tmp_path):
    """At its few steps it has come down already, and what is next to nothing differs by many times its size."""
    from spectron.tracking.logger import RunLogger

    logger = RunLogger("fallen", TrackingSettings(str(runs)))
    logger.log_hyperparams({"trainer": {"max_steps": 200, "val_check_interval": 100}})
    for step in range(200):
        logger.log_metrics({"train/text": 5.0 if step < 100 else 0.0}, step)
    for step, value in ((99, 0.1), (199, 0.01)):
        logger.log_metrics({"val/text": value}, step)
    logger.finalize("success")
    assert main(["reference-curve", "fallen", "-o", str(tmp_path / "f.yaml")]) == 0
    bands = yaml.safe_load((tmp_path / "f.yaml").read_text())["bands"]
    assert bands["val/text"] == {100: pytest.approx([-0.1, 0.3]), 200: pytest.approx([-0.19, 0.21])}, (
        "2 % of 5, twice for a single run"
    )


def test_band_covers_metric_interval(runs, tmp_path):
    from spectron.tracking.logger import RunLogger
    from spectron.tracking.measure import MetricValue

    logger = RunLogger("measured", TrackingSettings(str(runs)))
    logger.log_hyperparams({"trainer": {"max_steps": 10, "val_check_interval": 10}})
    logger.log_measures(
        [
            MetricValue("val/accuracy", 0.5, 11, low=0.2, high=0.7),
            MetricValue("val/wer", 1.0, 900, low=0.99, high=1.01),
        ],
        9,
    )
    logger.finalize("success")
    assert main(["reference-curve", "measured", "-o", str(tmp_path / "m.yaml")]) == 0
    bands = yaml.safe_load((tmp_path / "m.yaml").read_text())["bands"]
    assert bands == {"val/accuracy": {10: [0.2, 0.7]}, "val/wer": {10: [0.7, 1.3]}}


@pytest.mark.parametrize("logged", [1, 10])
def test_compared_means_equal_means_of_file(logged, file, tmp_path, monkeypatch):
    """Both use the logged steps only, whether each step or every tenth is logged."""
    seen = []
    monkeypatch.setattr(ReferenceCurve, "look", lambda self, name, step, value: seen.append((name, step, value)))
    assert fit(tmp_path, file, "seed=4", f"trainer.log_every_n_steps={logged}") == 0
    curves = curves_of(find_run("curved"), TrackingSettings())
    assert {(name, step) for name, step, _ in seen} >= {("train/loss", 100), ("train/loss", 200), ("val/loss", 200)}
    assert all(curves[name, step] == pytest.approx(value, rel=1e-6) for name, step, value in seen)


def test_same_recipe_inside_bands(file, tmp_path, caplog, capsys):
    with caplog.at_level("INFO"):
        assert fit(tmp_path, file, "seed=4") == 0
    told = [record.getMessage() for record in caplog.records if "reference curves" in record.getMessage()]
    assert len(told) == 1
    assert f"compared ({file}); at the end all are inside their bands" in told[0]
    assert "turns this check off" not in capsys.readouterr().err


def test_leaving_band_warns_once_per_curve(file, tmp_path, capsys):
    content = yaml.safe_load(file.read_text())
    content["bands"] = {
        name: {step: [10.0, 20.0] for step in steps}
        for name, steps in content["bands"].items()
        if name.endswith("/loss")
    }
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(content))
    assert fit(tmp_path, other) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "reference curves" in line]
    assert len(told) == 2
    assert any("val/loss is" in line and "at step 100, where" in line and "expects 10 to 20" in line for line in told)
    assert any("train/loss is" in line for line in told)


def test_also_names_are_compared(file, tmp_path, capsys):
    content = yaml.safe_load(file.read_text())
    content["bands"] = {"val/loss": {100: [10.0, 20.0]}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    assert (
        fit(
            tmp_path,
            tmp_path / "other.yaml",
            "name=row",
            "callbacks.reference_curve.init_args.also=[row]",
            "trainer.max_steps=200",
        )
        == 0
    )
    assert "val/loss is" in capsys.readouterr().err


@pytest.mark.parametrize("override", ["name=mine", "trainer.max_steps=100"])
def test_other_name_or_length_not_compared(override, file, tmp_path, capsys, caplog):
    content = yaml.safe_load(file.read_text())
    content["bands"] = {"val/loss": {100: [10.0, 20.0]}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(content))
    with caplog.at_level("INFO"):
        assert fit(tmp_path, tmp_path / "other.yaml", override) == 0
    assert "UserWarning: reference curves" not in capsys.readouterr().err
    assert "reference curves: not compared" in caplog.text


def test_null_removes_callback(file, tmp_path, capsys):
    assert fit(tmp_path, file, "callbacks.reference_curve=null", "name=curved") == 0
    assert "reference curves" not in capsys.readouterr().err


def test_observer_may_change_on_resume_and_in_study(file, tmp_path):
    assert fit(tmp_path, file, "name=apart", "trainer.max_steps=100") == 0
    assert fit(tmp_path, file, "name=apart", "--resume", "callbacks.reference_curve=null") == 0
    recipe = tmp_path / "recipe.yaml"
    with_it, without = (
        training_of(Experiment.read(recipe, overrides).config) for overrides in ([], ["callbacks.reference_curve=null"])
    )
    assert with_it == without


HEAD = "experiment: x\nmax_steps: 3\nstretch: 100\n"


@pytest.mark.parametrize(
    "content", [None, "- a list", "experiment: x\n", f"{HEAD}bands: {{a: 1}}", f"{HEAD}bands: {{a: {{1: [2]}}}}"]
)
def test_wrong_file_refused(content, tmp_path, capsys):
    file = tmp_path / "curves.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError) as raised:
        ReferenceCurve(str(file))
    assert raised.value.key == "file"
    assert fit(tmp_path, file) == 1
    assert f"callbacks.reference_curve.init_args.file: {file} is no file of" in capsys.readouterr().err


def test_several_experiments_refused(file, runs, tmp_path, capsys):
    assert main(["fit", str(TINY), "name=other"]) == 0
    capsys.readouterr()
    assert main(["reference-curve", "curved", "other", "-o", str(tmp_path / "x.yaml")]) == 1
    assert "curved (200 steps), other (4 steps)" in capsys.readouterr().err


def test_run_named_twice_counts_once(file, tmp_path):
    assert main(["reference-curve", "curved", "curved", "-o", str(tmp_path / "once.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "once.yaml").read_text())["runs"] == 1


def test_unwritable_output_refused(file, tmp_path, capsys):
    assert main(["reference-curve", "curved", "-o", str(tmp_path)]) == 1
    assert f"-o {tmp_path}: cannot be written" in capsys.readouterr().err


def test_run_without_max_steps_refused(runs, tmp_path, capsys):
    from spectron.tracking.logger import RunLogger

    logger = RunLogger("endless", TrackingSettings(str(runs)))
    logger.log_hyperparams({"trainer": {"max_steps": None, "val_check_interval": None}})
    logger.log_metrics({"val/loss": 1.0}, 9)
    logger.finalize("success")
    assert main(["reference-curve", "endless", "-o", str(tmp_path / "x.yaml")]) == 1
    assert "endless has none: set trainer.max_steps" in capsys.readouterr().err


def test_band_margins():
    assert band([2.0, 2.0]) == pytest.approx((1.7, 2.3))
    assert band([1.0, 2.0]) == pytest.approx((0.0, 3.0))
    assert band([-1.0, -1.0]) == pytest.approx((-1.15, -0.85))
    assert band([0.01, 0.02], curve_range=5.0) == pytest.approx((-0.09, 0.12)), "a curve that falls to almost 0"


def test_band_of_one_run_twice_as_wide():
    assert band([2.0]) == pytest.approx((1.4, 2.6))
    assert band([0.01], curve_range=5.0) == pytest.approx((-0.19, 0.21))


@pytest.mark.parametrize(("steps", "stretch"), [(10, 100), (2400, 100), (3000, 200), (14000, 700)])
def test_stretch_grows_with_max_steps(steps, stretch):
    assert stretch_of(steps) == stretch


def test_incomplete_stretch_left_out(file):
    """200 steps hold one stretch of 150."""
    curves = curves_of(find_run("curved"), TrackingSettings(), 150)
    assert {step for name, step in curves if name == "train/loss"} == {150}


def test_return_into_band_logged(file, caplog):
    curve = ReferenceCurve(str(file))
    curve.bands = {"val/loss": {100: [0.0, 1.0], 200: [0.0, 1.0]}}
    with pytest.warns(UserWarning, match=r"val/loss is 2 at step 100"):
        curve.look("val/loss", 100, 2.0)
    with caplog.at_level("INFO"):
        curve.look("val/loss", 200, 0.5)
    assert "val/loss is back in its band, 0.5 at step 200 (0 to 1)" in caplog.text
