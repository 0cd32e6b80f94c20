"""Report of an evaluation, read as HTML and opened in a real browser."""

import html
import json
import re
import shutil

import pytest
from full_disk import files_of_at_most

from spectron.errors import DataError, WriteError
from spectron.evaluation.comparison import compare_evaluations, write_comparison
from spectron.evaluation.report import read_evaluation, write_report
from spectron.evaluation.report.figures import figure
from spectron.evaluation.report.listening import MEDIA_CHARACTERS
from spectron.evaluation.report.plots import Point, axis, curve, histogram, interval_plot
from spectron.evaluation.report.words import mark_errors


def report_of(folder, **options):
    """Write the report of a stored evaluation and return the page."""
    return write_report(read_evaluation(folder), **options)


def test_browser_plays_audio_and_runs_no_stored_text(make_evaluation, open_in_browser):
    folder = make_evaluation()
    document, console, seen = open_in_browser(report_of(folder))
    assert console == []
    assert seen["title"] == "continuation-mini: runs/first"
    assert seen["requests"] == []
    assert seen["errors"] == [None] * len(seen["durations"])
    # Prompt, model, recording and silence of each item; MP3 rounds up to whole frames.
    expected = [length for number in range(6) for length in (0.5, 0.7 + 0.1 * number, 0.9, 0.7 + 0.1 * number)] * 2
    assert seen["durations"] == pytest.approx(expected, abs=0.15)
    assert len(seen["widths"]) == len(expected)
    assert min(seen["widths"]) > 0
    values = {float(value) for value in re.findall(r'<data value="([^"]+)"', document)}
    stored = read_evaluation(folder)
    measures = [
        m for task in stored.tasks for name in stored.systems(task) for m in stored.measures(task, name).values()
    ]
    assert values == {measure.value for measure in measures if measure.value is not None}
    assert "document.title=&#39;hacked&#39;" in report_of(folder).read_text()


def test_page_shows_values_footnotes_and_failures(make_evaluation):
    page = report_of(make_evaluation()).read_text()
    text = re.sub(
        r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(style|script|details).*?</\1>", "", page)))
    )
    for said in (
        "17",
        "0.1.0",
        "cccccccccccc",
        "with uncommitted changes",
        "ffffffffffff",
        "wav2vec2",
        "bbbbbbbbbbbb",
    ):
        assert said in text
    assert "speech_wer ↓ errors/word 0.233 0.125 to 0.875 n 6 · 30 words" in text
    assert "6 of 6 skipped: no word was heard" in text
    assert "model, item-3 : <script>document.title='hacked'" in text
    assert re.search(r"long 6 items, .*Prompt length: 3 s\.", text)
    assert "The first 6 of 6 items" in text
    assert re.search(r'<span class="wrong" title="should be: the">a</span>', page)
    assert len(re.findall(r'aria-label="speech_wer over prompt length \(s\)"', page)) == 1
    assert "<td>speech_<wbr>wer</td>" in page, "a narrow column breaks a metric's name between its words"


def test_page_refers_to_no_external_address(make_evaluation):
    page = report_of(make_evaluation()).read_text()
    assert set(re.findall(r'(?:src|href|action|poster)="([a-z]*:|#|[^"])', page)) == {"data:", "#"}
    assert re.findall(r"@import|url\(|https?://", page) == []
    assert "default-src 'none'" in html.unescape(page)


def test_listening_items_limited_by_argument_and_page_size(make_evaluation, monkeypatch):
    folder = make_evaluation()
    assert "The first 2 of 6 items" in report_of(folder, listening_items=2).read_text()
    monkeypatch.setattr("spectron.evaluation.report.listening.MEDIA_CHARACTERS", 60_000)
    page = report_of(folder).read_text()
    shown = [int(number) for number in re.findall(r"The first (\d) of 6 items", page)]
    assert 1 <= shown[1] <= shown[0] < 6  # the tasks take turns
    assert MEDIA_CHARACTERS < 10_000_000


def test_missing_audio_shown_outside_audio_refused(make_evaluation):
    folder = make_evaluation()
    shutil.rmtree(folder / "audio")
    page = report_of(folder).read_text()
    assert "<audio" not in page
    assert page.count("no sound") == 2 * 6 * 4
    items = (folder / "items.jsonl").read_text()
    (folder / "items.jsonl").write_text(items.replace("audio/long/model/item-0.wav", "../../secret.wav"))
    with pytest.raises(DataError, match=r"names an audio file outside its folder, \.\./\.\./secret\.wav"):
        report_of(folder)


def test_report_and_comparison_cut_by_full_disk_keep_old_files(make_evaluation, tmp_path):
    first, second = make_evaluation("first", items=2), make_evaluation("second", items=2)
    compared = compare_evaluations([first, second])
    writers = {
        first / "report.html": lambda: write_report(read_evaluation(first), 0),
        tmp_path / "out" / "comparison.csv": lambda: write_comparison(compared, tmp_path / "out", 0),
    }
    for file, write in writers.items():
        write()
        before = file.read_bytes()
        with files_of_at_most(100), pytest.raises(WriteError) as caught:
            write()
        assert (caught.value.file, file.read_bytes()) == (file, before)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results.json", None, "contains no results.json"),
        ("results.json", "{", r"results.json is not JSON"),
        (
            "results.json",
            '{"format": "other"}',
            "format is 'other', but should be 'spectron-evaluation/1'",
        ),
        ("items.jsonl", None, "contains results.json but no items.jsonl"),
        ("items.jsonl", '{"task": "long"}\n', "items.jsonl:1 has no system"),
    ],
)
def test_broken_folder_refused_with_reason(make_evaluation, file, content, message):
    folder = make_evaluation(items=1)
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        read_evaluation(folder)
    assert error.value.file == folder / file


@pytest.mark.parametrize(
    ("wanted", "text", "marked"),
    [
        ("the cow says moo", "The cow says: moo!", "The cow says: moo!"),
        ("the cow says moo", "the cat says", "the [cat<cow] says -moo"),
        ("the cow says moo", "well the cow moo", "+well the cow -says moo"),
        ("don't stop", "dont start", "dont [start<stop]"),
        ("a barn", "a well-known barn", "a +well-known barn"),
        ("a barn", "", "-a -barn"),
        ("", "unasked words", "unasked words"),
    ],
)
def test_mark_errors_marks_counted_word_errors(wanted, text, marked):
    forms = {"same": "{0.text}", "replaced": "[{0.text}<{0.wanted}]", "added": "+{0.text}", "missing": "-{0.text}"}
    assert " ".join(forms[word.kind].format(word) for word in mark_errors(wanted, text)) == marked


def test_plot_positions_follow_axis():
    scale = axis([0.12, 0.87], 100, 300)
    assert (scale.low, scale.high, scale(0.5)) == (0.0, 1.0, 200.0)
    plot = interval_plot("x", [Point("model", 0, 0.5, 0.25, 1.0), Point("none", 1, None), Point("recording", 2, 0.0)])
    start, end = plot.scale.start, plot.scale.end
    assert [row.x for row in plot.rows] == [(start + end) / 2, None, start]
    assert (plot.rows[0].low, plot.rows[0].high) == (start + (end - start) / 4, end)
    assert interval_plot("x", [Point("model", 0, 0.5), Point("none", 1, None)]) is None
    bars = histogram("x", [0.0, 0.0, 0.0, 1.0])
    assert [bar[4] for bar in bars.bars] == ["0 to 0.05: 3 items", "0.95 to 1: 1 item"]
    assert bars.bars[0][3] == pytest.approx(3 * bars.bars[1][3])
    assert histogram("x", [1.0, 1.0]) is None
    drawn = curve("x", "y", [1.0, 3.0], [[Point("model", 0, 0.0)], [Point("model", 0, 1.0), Point("other", 1, None)]])
    assert [line.label for line in drawn.lines] == ["model"]
    assert [point[1] for point in drawn.lines[0].points] == [drawn.vertical.start, drawn.vertical.end]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.3126, "0.313"),
        (-12.34, "\N{MINUS SIGN}12.3"),
        (1234.5, "1,234"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (2.0, "2"),
    ],
)
def test_figure_formats_number(value, shown):
    assert figure(value) == shown


def test_page_escapes_names(make_evaluation):
    evil = "<script>document.title='x'</script>\"><img src=x onerror=alert(1)>"
    folder = make_evaluation(items=2, suite=evil, system={"reference": evil, "class": evil, "weights_sha256": evil})
    results = json.loads((folder / "results.json").read_text())
    task = results["tasks"].pop("long")
    task["systems"] = {name if name == "model" else evil + name: value for name, value in task["systems"].items()}
    for system in task["systems"].values():
        system["measures"][evil] = system["measures"]["speech_wer"]
    (folder / "results.json").write_text(json.dumps(results | {"tasks": {evil: task}}))
    lines = []
    for number, line in enumerate(map(json.loads, (folder / "items.jsonl").read_text().splitlines())):
        line |= {"task": evil, "id": f"{evil}{number}", "split": evil, "speaker": evil}
        line |= {"parts": {evil: [1.0, 1.0]}} | ({} if line["system"] == "model" else {"system": evil + line["system"]})
        lines.append(json.dumps(line) + "\n")
    (folder / "items.jsonl").write_text("".join(lines))
    page = report_of(folder).read_text()
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;document") > 8
