"""Finished evaluations against each other: what is refused, what is computed on which items, and what is written."""

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
    """Another value in results.json, under a path of keys."""
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


def test_two_evaluations_of_one_model_are_told_apart_by_their_folders(make_evaluation):
    folders = [make_evaluation(name) for name in ("first", "again", "other")]
    for folder in folders[:2]:
        change(folder, ["system", "reference"], "mini")
    assert compare_evaluations(folders).references == ["mini (first)", "mini (again)", "runs/other"]


def test_values_and_differences_on_the_same_items(make_evaluation):
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


def test_what_stands_beside_the_system_does_not_keep_evaluations_apart(make_evaluation):
    settings = [{"tasks": {"long": {"init_args": {"baselines": names}}}} for names in (["recording"], [])]
    folders = [make_evaluation(f"e{place}", settings=each) for place, each in enumerate(settings)]
    assert compare_evaluations(folders).different == []
    change(folders[1], ["seed"], 3)
    change(folders[1], ["tasks", "long", "fingerprint"], "0" * 64)
    with pytest.raises(ConfigError, match="seed is 17") as error:
        compare_evaluations(folders)
    assert "baselines" not in str(error.value)


def test_what_makes_an_item_hard_for_both_does_not_widen_the_interval():
    first = [(float(number), 10.0) for number in range(10)]
    found = paired_bootstrap([(errors + 1, words) for errors, words in first], first)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["normalizer_version"], "2", r"normalizer_version is 1 in the first and 2 in .*second"),
        (["seed"], 18, r"seed is 17 in the first and 18 in"),
        (
            ["scorers", "transcriber", "weights_sha256"],
            "9" * 64,
            r"scorers\.transcriber\.weights_sha256 is b+… in the first and 9+",
        ),
        (["scorers", "text_scorer"], {"title": "gpt2"}, r"scorers\.text_scorer is none in the first and nothing in"),
        (
            ["settings", "decoding", "temperature"],
            0.7,
            r"settings\.decoding\.temperature is 0\.0 in the first and 0\.7 in",
        ),
        (
            ["tasks", "long", "data", "fingerprint"],
            {"manifest.jsonl": "0"},
            r"tasks\.long\.data\.fingerprint\.manifest\.jsonl is d+",
        ),
        (["tasks", "short", "fingerprint"], "0" * 64, r"tasks\.short\.fingerprint is f+… in the first and 0+"),
    ],
)
def test_figures_that_do_not_mean_the_same_are_refused(make_evaluation, path, value, named):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["tasks", "short", "fingerprint"], "0" * 64)  # of which all of these values are a part
    change(second, path, value)
    with pytest.raises(ConfigError, match=named) as refused:
        compare_evaluations([first, second])
    assert "add --anyway" in str(refused.value)
    compared = compare_evaluations([first, second], allow_different=True)
    assert re.search(named, re.sub(r"\s+", " ", shown(compared)))


def test_places_and_names_are_no_difference_where_the_fingerprints_agree(make_evaluation):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["settings", "judges"], {"transcriber": {"init_args": {"folder": "/elsewhere"}}})
    assert compare_evaluations([first, second]).different == []


def test_other_systems_code_titles_of_equal_weights_and_times_are_no_difference(make_evaluation):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    change(second, ["system"], {"reference": "other", "class": "Other", "weights_sha256": None})
    change(second, ["code", "commit"], "d" * 40)
    change(second, ["times"], {})
    change(second, ["scorers", "transcriber", "title"], "/elsewhere/wav2vec2")
    assert compare_evaluations([first, second]).different == []


def test_only_shared_items_are_compared_and_the_rest_is_told(make_evaluation, tmp_path):
    first, second = make_evaluation("first", items=4, skill=0.0), make_evaluation("second", items=6, skill=0.0)
    with pytest.raises(ConfigError, match=r"tasks\.long\.data\.items is 4 in the first and 6 in"):
        compare_evaluations([first, second])
    compared = compare_evaluations([first, second], allow_different=True)
    task = compared.tasks[0]
    assert (task.items, task.left_out) == (4, [0, 2])
    wer = next(metric for metric in task.metrics if metric.name == "speech_wer")
    assert [(measure.value, measure.count, measure.weight) for measure in wer.measures] == [
        (6 / 20, 4, {"words": 20.0})
    ] * 2
    assert wer.measures[1].low < 6 / 20 < wer.measures[1].high < 0.875  # not the interval of all six
    assert "4 items; left out: 2 of B" in shown(compared)
    assert "4 items; left out: 2 of B." in write_comparison(compared, tmp_path / "out")[2].read_text()


def test_what_an_item_adds_among_other_items_is_not_compared(make_evaluation):
    """As self-BLEU: of fewer items each would add something else than what was stored."""
    folders = [make_evaluation("first", items=4), make_evaluation("second", items=6)]
    for folder in folders:
        change(folder, ["tasks", "long", "systems", "model", "measures", "speech_wer", "among_all"], True)
    long, short = compare_evaluations(folders, allow_different=True).tasks
    assert "speech_wer" not in {metric.name for metric in long.metrics}
    assert "speech_wer" in {metric.name for metric in short.metrics}


def test_nothing_to_compare(make_evaluation):
    first, second = make_evaluation("first", items=1), make_evaluation("second", items=1)
    with pytest.raises(ConfigError, match=r"takes 2 to 26 different evaluations, got .*first"):
        compare_evaluations([first, first / "."])
    lines = (second / "items.jsonl").read_text()
    (second / "items.jsonl").write_text(lines.replace('"item-0"', '"another"'))
    with pytest.raises(ConfigError, match=r"tasks\.long\.ids is item-0 in the first and another in"):
        compare_evaluations([first, second])
    with pytest.raises(ConfigError, match="share no item of a task"):
        compare_evaluations([first, second], allow_different=True)


def test_the_command_compares_evaluations_and_says_what_does_not_fit(make_evaluation, tmp_path, monkeypatch, capsys):
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


def test_files_hold_the_figures_and_the_page_plays_each_evaluation(make_evaluation, tmp_path, open_in_browser):
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
