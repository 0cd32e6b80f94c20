"""Comparison of finished evaluations: refused differences, shared items, computed differences, and written files."""

import csv
import io
import json
import re

import pytest
from rich.console import Console

from spectron.cli.parser import main
from spectron.errors import ConfigError
from spectron.evaluation.comparison import compare_evaluations, render, write_comparison
from spectron.evaluation.metrics import paired_bootstrap


def change(folder, path, value):
    """Change the value in results.json at a path of keys."""
    results = json.loads((folder / "results.json").read_text())
    *parents, last = path
    place = results
    for key in parents:
        place = place[key]
    place[last] = value
    (folder / "results.json").write_text(json.dumps(results))


def shown(comparison):
    console = Console(width=300, file=io.StringIO())
    console.print(render(comparison))
    return console.file.getvalue()


def test_equal_references_get_folder_names(make_evaluation):
    folders = [make_evaluation(name) for name in ("first", "again", "other")]
    for folder in folders[:2]:
        change(folder, ["system", "reference"], "mini")
    assert compare_evaluations(folders).references == ["mini (first)", "mini (again)", "runs/other"]


def test_compare_evaluations_values_and_differences(make_evaluation):
    first, second = make_evaluation("first", skill=0.0), make_evaluation("second", skill=1.0)
    compared = compare_evaluations([first, second])
    task = compared.tasks[0]
    assert (task.name, task.items, task.left_out, compared.different) == ("long", 6, [0, 0], [])
    metrics = {metric.name: metric for metric in task.metrics}
    wer = metrics["speech_wer"]
    assert [measure.value for measure in wer.measures] == [0.5, 0.0]  # 0 + 1 + ... + 5 errors in 30 words
    assert wer.contrasts[0] is None
    found = wer.contrasts[1].difference
    expected = paired_bootstrap([(0.0, 5.0)] * 6, [(float(number), 5.0) for number in range(6)])
    assert (found.value, found.low, found.high, found.count) == (-0.5, expected.low, expected.high, 6)
    assert wer.contrasts[1].better is True
    assert compare_evaluations([second, first]).tasks[0].metrics[0].contrasts[1].better is False
    assert metrics["speech_wer/facts"].contrasts[1].difference.value == pytest.approx(-6 / 15)  # items 0, 2 and 4
    assert metrics["predicted_mos"].contrasts == [None, None]
    assert re.search(r"speech_wer ↓, errors/word *│ 0\.500 \[0\.125 to 0\.875\] n=6 *│ 0\.000 .* n=6", shown(compared))
    assert re.search(r"\u22120\.500 \[\u22120\.\d+ to \u22120\.\d+\] on 6, p 0\.031 better", shown(compared))


def test_other_baselines_are_no_difference(make_evaluation):
    settings = [{"tasks": {"long": {"init_args": {"baselines": names}}}} for names in (["recording"], [])]
    folders = [make_evaluation(f"e{place}", settings=each) for place, each in enumerate(settings)]
    assert compare_evaluations(folders).different == []
    change(folders[1], ["seed"], 3)
    change(folders[1], ["tasks", "long", "fingerprint"], "0" * 64)
    with pytest.raises(ConfigError):
        compare_evaluations(folders)
    (difference,) = compare_evaluations(folders, allow_different=True).different
    assert (difference.key, difference.first, difference.other) == ("seed", "17", "3")


def test_paired_bootstrap_ignores_item_difficulty():
    first = [(float(number), 10.0) for number in range(10)]
    found = paired_bootstrap([(errors + 1, words) for errors, words in first], first)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("path", "value", "key", "values"),
    [
        (["normalizer_version"], "2", "normalizer_version", ("1", "2")),
        (["seed"], 18, "seed", ("17", "18")),
        (
            ["judges", "transcriber", "weights_sha256"],
            "9" * 64,
            "judges.transcriber.weights_sha256",
            ("b" * 64, "9" * 64),
        ),
        (["judges", "text_scorer"], {"title": "gpt2"}, "judges.text_scorer", ("none", "nothing")),
        (
            ["settings", "decoding", "temperature"],
            0.7,
            "settings.decoding.temperature",
            ("0.0", "0.7"),
        ),
        (
            ["tasks", "long", "data", "fingerprint"],
            {"manifest.jsonl": "0"},
            "tasks.long.data.fingerprint.manifest.jsonl",
            ("d" * 64, "0"),
        ),
        (["tasks", "short", "fingerprint"], "0" * 64, "tasks.short.fingerprint", ("f" * 64, "0" * 64)),
    ],
)
def test_different_conditions_refused_unless_allowed(make_evaluation, path, value, key, values):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["tasks", "short", "fingerprint"], "0" * 64)  # the fingerprint covers all of these values
    change(second, path, value)
    with pytest.raises(ConfigError, match="add --anyway") as refused:
        compare_evaluations([first, second])
    compared = compare_evaluations([first, second], allow_different=True)
    found = {difference.key: difference for difference in compared.different}
    assert (found[key].first, found[key].other, found[key].folder) == (*values, str(second))
    assert str(found[key]) in str(refused.value)
    assert key in shown(compared)


def test_paths_with_equal_fingerprints_are_no_difference(make_evaluation):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["settings", "judges"], {"transcriber": {"init_args": {"folder": "/elsewhere"}}})
    assert compare_evaluations([first, second]).different == []


def test_system_code_title_and_times_are_no_difference(make_evaluation):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["system"], {"reference": "other", "class": "Other", "weights_sha256": None})
    change(second, ["code", "commit"], "d" * 40)
    change(second, ["times"], {})
    change(second, ["judges", "transcriber", "title"], "/elsewhere/wav2vec2")
    assert compare_evaluations([first, second]).different == []


def test_only_shared_items_compared_others_counted(make_evaluation, tmp_path):
    first, second = make_evaluation("first", items=4, skill=0.0), make_evaluation("second", items=6, skill=0.0)
    with pytest.raises(ConfigError):
        compare_evaluations([first, second])
    compared = compare_evaluations([first, second], allow_different=True)
    assert ("tasks.long.data.items", "4", "6") in {
        (found.key, found.first, found.other) for found in compared.different
    }
    task = compared.tasks[0]
    assert (task.items, task.left_out) == (4, [0, 2])
    wer = next(metric for metric in task.metrics if metric.name == "speech_wer")
    assert [(measure.value, measure.count, measure.weight) for measure in wer.measures] == [
        (6 / 20, 4, {"words": 20.0})
    ] * 2
    assert wer.measures[1].low < 6 / 20 < wer.measures[1].high < 0.875  # not the interval of all six
    assert "4 items; left out: 2 of B" in shown(compared)
    assert "4 items; left out: 2 of B." in write_comparison(compared, tmp_path / "out")[2].read_text()


def test_metric_among_all_items_left_out_of_fewer_items(make_evaluation):
    """Such as self-BLEU: among fewer items, the parts of an item would differ from the stored ones."""
    folders = [make_evaluation("first", items=4), make_evaluation("second", items=6)]
    for folder in folders:
        change(folder, ["tasks", "long", "systems", "model", "measures", "speech_wer", "among_all"], True)
    long, short = compare_evaluations(folders, allow_different=True).tasks
    assert "speech_wer" not in {metric.name for metric in long.metrics}
    assert "speech_wer" in {metric.name for metric in short.metrics}


def test_same_folder_or_no_shared_item_refused(make_evaluation):
    first, second = make_evaluation("first", items=1), make_evaluation("second", items=1)
    with pytest.raises(ConfigError, match=r"2 to 26 different evaluations, got .*first"):
        compare_evaluations([first, first / "."])
    lines = (second / "items.jsonl").read_text()
    (second / "items.jsonl").write_text(lines.replace('"item-0"', '"another"'))
    with pytest.raises(ConfigError, match=r"tasks\.long\.ids is item-0 in the first and another in"):
        compare_evaluations([first, second])
    with pytest.raises(ConfigError, match="share no item of a task"):
        compare_evaluations([first, second], allow_different=True)


def test_compare_command_reports_differences(make_evaluation, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SPECTRON_RUNS", str(tmp_path / "runs"))
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["seed"], 18)
    change(second, ["tasks", "short", "fingerprint"], "0" * 64)  # the fingerprint contains the seed
    assert main(["compare", str(first), str(second)]) == 1
    assert "seed is 17 in the first and 18 in" in capsys.readouterr().err
    assert main(["compare", str(first), str(second), "--anyway", "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "different conditions: seed is 17" in printed
    assert f"{tmp_path / 'out' / 'comparison.html'}\n" in printed
    (tmp_path / "nothing").mkdir()
    assert main(["compare", str(tmp_path / "nothing"), "--anyway"]) == 1
    assert (
        f"--output and --anyway are for evaluations, and {tmp_path / 'nothing'} holds none" in capsys.readouterr().err
    )


def test_write_comparison_files_and_playable_page(make_evaluation, tmp_path, open_in_browser):
    compared = compare_evaluations([make_evaluation("first", skill=0.0), make_evaluation("sec|ond", skill=1.0)])
    table, text, page = write_comparison(compared, tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    row = next(row for row in rows if (row["task"], row["metric"], row["evaluation"]) == ("short", "speech_wer", "B"))
    names = ("value", "low", "high", "count", "difference", "compared_items")
    assert [float(row[name]) for name in names] == [0.0, 0.125, 0.875, 6, -0.5, 6]
    assert next(row for row in rows if row["metric"] == "predicted_mos")["value"] == ""
    assert "- B: runs/sec\\|ond" in text.read_text()
    written = (
        r"\| speech_wer ↓, errors/word \| 0\.500 \[0\.125 to 0\.875\] n=6 \| .*<br>\u22120\.500 \[.*\] on 6, p .* \|"
    )
    assert re.search(written, text.read_text())
    document, console, seen = open_in_browser(page)
    assert (console, seen["requests"], seen["errors"]) == ([], [], [None] * len(seen["durations"]))
    expected = [length for number in range(6) for length in (0.5, 0.7 + 0.1 * number, 0.7 + 0.1 * number, 0.9)] * 2
    assert seen["durations"] == pytest.approx(expected, abs=0.15)  # prompt, A, B and the reference
    assert min(seen["widths"]) > 0
    assert {float(value) for value in re.findall(r'<data value="([^"]+)"', document)} == {0.5, 0.4, 0.0}
    assert re.search(r'class="difference better">\u22120\.500 \[.*\] on 6, p 0\.031 better', document)
