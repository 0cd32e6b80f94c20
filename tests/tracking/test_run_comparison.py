"""Comparison of runs in a real store."""

import io
import math
import re

import pytest
from rich.console import Console

from spectron.errors import TrackingError
from spectron.tracking.logger import RunLogger
from spectron.tracking.measure import MetricValue
from spectron.tracking.run_comparison import MOST_RUNS, compare, evaluation_folders, render
from spectron.tracking.store import TrackingSettings, find_run


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return TrackingSettings(folder=str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def runs(settings):
    small, large = RunLogger("size", settings), RunLogger("size", settings)
    small.log_hyperparams({"seed": 1, "model": {"layers": 2, "only_here": "[bold]x"}})
    large.log_hyperparams({"seed": 1, "model": {"layers": 12}})
    small.log_measures(
        [MetricValue("val/wer", 0.9, 10, "", False, 0.8, 1.0), MetricValue("val/accuracy", 0.5, 40, "", True)], step=1
    )
    small.log_measures(
        [MetricValue("val/wer", 0.5, 10, "", False, 0.4, 0.6), MetricValue("val/empty", math.nan, 0, "s", True)], step=2
    )
    large.log_measures(
        [MetricValue("val/wer", 0.25, 12, "", False, 0.2, 0.3), MetricValue("val/accuracy", 0.5, 40, "", True)], step=2
    )
    large.log_metrics({"val/loss": 1.0, "train/speed": 3.0, "epoch": 0}, step=2)
    small.log_metrics({"val/loss": 2.0, "train/speed": 4.0, "epoch": 0}, step=2)
    small.finalize("success")
    large.finalize("failed")
    return small, large


def test_compare_differences_last_values_and_best(settings, runs):
    small, large = runs
    compared = compare([small.run_id, large.run_id[:10]], settings)
    assert compared.differences == {"model.layers": ["2", "12"], "model.only_here": ["[bold]x", None]}
    shown = {row.name: [cell and (str(cell), cell.best) for cell in row.cells] for row in compared.rows}
    assert shown == {
        "train/speed": [("4", False), ("3", False)],
        "val/accuracy": [("0.5 n=40", False), ("0.5 n=40", False)],  # a tie has no best
        "val/empty": [("nan n=0", False), None],
        "val/loss": [("2", False), ("1 *", True)],
        "val/wer": [("0.5 [0.4, 0.6] n=10", False), ("0.25 [0.2, 0.3] n=12 *", True)],
    }


def test_empty_section_gets_no_row(settings):
    filled = {"callbacks": {"stop": 1}, "corpus": {"folder": "x"}, "part": {"width": 2}}
    for params in ({"callbacks": {}, "corpus": None, "part": "a.Class"}, filled):
        RunLogger("sections", settings).log_hyperparams(params)
    differences = compare(["sections"], settings).differences
    assert {name: set(row) for name, row in differences.items()} == {
        "callbacks.stop": {None, "1"},
        "corpus.folder": {None, "x"},
        "part": {"a.Class", None},
        "part.width": {None, "2"},
    }


def test_render_names_runs(settings, runs):
    console = Console(width=160, file=io.StringIO())
    console.print(render(compare(["size"], settings)))
    text = console.file.getvalue()
    for expected in (
        runs[0].run_id[:8],
        runs[1].run_name,
        "failed",
        "model.layers",
        "[bold]x",
        "val/wer (lower is better)",
        "0.25 [0.2, 0.3] n=12 *",
    ):
        assert expected in text
    assert "seed" not in text


def test_experiment_name_compares_newest_runs(settings):
    made = [RunLogger("many", settings) for _ in range(MOST_RUNS + 2)]
    compared = compare(["many"], settings)
    assert [run.run_id for run in compared.runs] == [logger.run_id for logger in reversed(made)][:MOST_RUNS]
    assert compared.left_out == 2
    console = Console(width=200, file=io.StringIO())
    console.print(render(compared))
    assert "(all the same)" in console.file.getvalue()


def test_compare_one_run_refused(settings, runs):
    lonely = RunLogger("lonely", settings)
    with pytest.raises(TrackingError, match=r"needs at least two runs, and lonely stands for 1 run"):
        compare(["lonely"], settings)
    with pytest.raises(TrackingError, match=r"nothing to compare run .* with"):
        compare([lonely.run_id], settings)
    with pytest.raises(TrackingError, match=r"needs at least two runs"):
        compare([lonely.run_id, lonely.run_id[:8]], settings)
    with pytest.raises(TrackingError, match=r"no run 'siez'.*did you mean `size`"):
        compare(["size", "siez"], settings)


def test_counts_hidden_and_ties_unmarked(settings):
    for wer in (0.5, 0.4):
        logger = RunLogger("details", settings)
        measures = [MetricValue("val/wer", wer, 10, "", False), MetricValue("val/wer.words", 90, 10, "words")]
        measures += [
            MetricValue("val/wer.skipped", 0, 10, "items", False),
            MetricValue("val/mel.skipped", 2 * wer, 10, "items", False),
        ]
        logger.log_measures([*measures, MetricValue("val/stopped", 1.0, 10, "", True)], step=1)
        logger.finalize("success")
    rows = {row.name: [cell.best for cell in row.cells] for row in compare(["details"], settings).rows}
    assert rows == {"val/mel.skipped": [True, False], "val/stopped": [False, False], "val/wer": [True, False]}


def test_evaluation_folders_of_evaluations_and_runs(settings, runs, tmp_path):
    small, large = runs
    plain, inside = tmp_path / "plain", tmp_path / "run" / "evaluation"
    for folder in (plain, inside):
        folder.mkdir(parents=True)
        (folder / "results.json").write_text("{}")
    assert evaluation_folders([str(plain), str(inside.parent)], settings) == [plain, inside]
    assert evaluation_folders([small.run_id, large.run_id], settings) == evaluation_folders(["size"], settings) == []
    with pytest.raises(TrackingError, match=f"{plain} holds an evaluation, {small.run_id} holds none"):
        evaluation_folders([str(plain), small.run_id], settings)
    with pytest.raises(TrackingError, match=re.escape(f"holds 2 evaluations. Name one of {plain}, {inside}")):
        evaluation_folders([str(tmp_path), small.run_id], settings)
    folder = find_run(large.run_id, settings).folder / "evaluation"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    assert evaluation_folders([str(plain), large.run_id], settings) == [plain, folder]
    assert evaluation_folders(["size"], settings) == [], "one of its runs holds none"
    other = find_run(small.run_id, settings).folder
    other.mkdir(parents=True, exist_ok=True)
    (other / "results.json").write_text("{}")
    assert evaluation_folders(["size"], settings) == [other, folder], "by the experiment's name alone, the oldest first"
