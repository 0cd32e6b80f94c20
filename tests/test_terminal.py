"""Names and texts of other people on a terminal, in Markdown and in HTML: shown, and never obeyed."""

import ast
import io
import logging
import re
import subprocess
import sys
import unicodedata
import warnings
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

import spectron
from spectron.audio.mel import MelConfig
from spectron.cli import verbs
from spectron.cli.continuing import write_answer
from spectron.cli.parser import main, run
from spectron.cli.tables import measures_table, parts_table, recipes_table, resolved_table, shapes_table, verdict_line
from spectron.config.recipes import Recipe
from spectron.conformance import CheckResult
from spectron.datamodules import prepare
from spectron.datamodules.prepare.manifests import Prepared
from spectron.datamodules.synthetic.parallel import progress_bar
from spectron.errors import DataError, Interrupted
from spectron.evaluation.comparison import render as render_evaluations
from spectron.evaluation.comparison.comparing import ComparedMetric, ComparedTask, EvaluationComparison
from spectron.evaluation.comparison.comparison_table import as_markdown as evaluations_as_markdown
from spectron.evaluation.report.metric_tables import markdown_text
from spectron.evaluation.report.stored import StoredEvaluation, StoredMeasure
from spectron.evaluation.study.study import Claim, Row
from spectron.evaluation.study.table import StudyTable, as_markdown, verdict_lines
from spectron.evaluation.study.table import render as render_study
from spectron.evaluation.suites.evaluating import PROGRESS, _keys
from spectron.evaluation.suites.terminal import tables_of
from spectron.experiment.fitting import Outcome
from spectron.inference.speaker import Answer, Recording
from spectron.terminal import protect_terminal, say, visible
from spectron.tracking.measure import MetricValue, console
from spectron.tracking.run_comparison import Comparison, Measured
from spectron.tracking.run_comparison import Row as RunRow
from spectron.tracking.run_comparison import render as render_runs
from spectron.tracking.store import RunRecord
from spectron.training import progress

HOSTILE = {
    "escape": "a\x1b[2Jb\x1b]0;title\x07c",
    "carriage return": "a\rb",
    "nul": "a\0b",
    "c1": "a\x9b2Jb",
    "bidi": "a\u202eb\u2066c",
    "surrogate": "a\udcffb",
    "newline": "a\nb\u2028c",
    "closing tag": "[/x]",
    "tag": "[bold]a[/bold]",
    "emoji": ":smile:",
    "link": "[link=x]a",
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
def name(request):
    return request.param


@pytest.fixture
def wide(monkeypatch):
    """Let tables have room, so that no name is folded."""
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.setattr("spectron.tracking.measure.FILE_COLUMNS", 2000)


def require_harmless(printed, name, times=1):
    """Require that nothing printed is obeyed by a terminal, and that the name can be read."""
    obeyed = [sign for sign in printed if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign != "\n"]
    assert not obeyed
    assert printed.count(visible(name)) >= times, printed


def measures(name):
    values = [MetricValue(f"val/{name}", 0.5, 4, name, True, 0.4, 0.6), MetricValue(f"{name}/x", 1.0, 2)]
    return [*values, MetricValue("loss", 1.0, 1)]


def results(name):
    entry = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 4, "unit": name, "higher_is_better": True}
    entry |= {"skipped": 1, "skipped_because": name}
    summary = {"measures": {name: entry}, "failures": [{"id": name, "reason": name}]}
    return {"tasks": {name: {"data": {"items": 4}, "systems": {"model": summary, name: summary}}}}


def runs(name):
    record = RunRecord("0" * 32, name, name, "FINISHED", 0, Path(name), {name: name}, {}, {})
    rows = [RunRow(name, name, True, [Measured(1.0, None, None, 3, True), None])]
    return Comparison([record, record], {name: [name, None]}, rows)


def study_table(name):
    rows = {name: Row(name, name)}
    columns = {f"{name}/{name}": (name, True)}
    claim = Claim(name, name, f"{name}/{name}", "better")
    return StudyTable(name, columns, rows, {name: {}}, {name: [1]}, [(claim, "held", None)])


def evaluations(name):
    measured = StoredMeasure(0.5, name, True, 4, 0.4, 0.6)
    task = ComparedTask(name, 4, [0, 0], [ComparedMetric(name, name, True, [measured, None], [None, None])])
    stored = [StoredEvaluation(Path(name), {"system": {"reference": name}}, []) for _ in range(2)]
    return EvaluationComparison(stored, [task], [name])


TABLES = {
    "measures": lambda name: [measures_table(measures(name))],
    "parts": lambda name: [parts_table({name: (1, 2)})],
    "resolved": lambda name: [resolved_table({name: {name: name}})],
    "shapes": lambda name: [shapes_table({name: (1, 2)})],
    "recipes": lambda name: [recipes_table([Recipe(name, name, name)])],
    "verdict": lambda name: [verdict_line(CheckResult(name, True, name))],
    "suite": lambda name: tables_of(results(name)),
    "runs": lambda name: [render_runs(runs(name))],
    "evaluations": lambda name: [render_evaluations(evaluations(name))],
    "study": lambda name: [render_study(study_table(name)), *verdict_lines(study_table(name))],
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_show_hostile_names(table, name, wide, capsys):
    for shown in TABLES[table](name):
        if isinstance(shown, str):
            say(shown)
        else:
            console().print(shown, highlight=False)
    require_harmless(capsys.readouterr().out, name, times=2 if table != "shapes" and table != "parts" else 1)


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_no_markup_on_any_console(table):
    shown = io.StringIO()
    Console(file=shown, width=500).print(*TABLES[table]("[/x]"), markup=False)
    assert "[/x]" in shown.getvalue()


def test_answer_shows_hostile_names(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Answer, "save", lambda answer, path: path)
    monkeypatch.setattr(Answer, "draw", lambda answer, path: path)
    prompt = Recording(torch.zeros(16), 16000, name)
    answer = Answer(prompt, name, name, name, torch.zeros(16), 16000, True, torch.zeros(1, 20), MelConfig(n_mels=20))
    write_answer(Path(name), answer, Path(f"{name}.wav"), f"{name} asked")
    require_harmless(capsys.readouterr().out, name, times=4)


def test_prepare_shows_hostile_names(name, monkeypatch, capsys):
    done = Prepared([Path(name)], 1, 0.5, {name: 1}, {name: name}, name)
    monkeypatch.setattr(prepare, "prepare_folder", lambda: done)
    verbs.prepare(Namespace(source="folder"))
    require_harmless(capsys.readouterr().out, name, times=5)


def test_outcome_shows_hostile_names(name, wide, capsys):
    verbs._print_outcome(Outcome(name, Path(name), measures(name), [Path(f"{name}.wav")], name))
    require_harmless(capsys.readouterr().out, name, times=4)


@pytest.mark.parametrize("error", [DataError, Interrupted])
def test_errors_show_hostile_names(error, name, capsys):
    def verb(options):
        raise error(f"line 1: {visible(name) if chr(10) in name else name}\nline 2")

    assert run(Namespace(verb=verb, debug=False)) in (1, 130)
    printed = capsys.readouterr().err
    require_harmless(printed, name)
    assert printed.endswith("\nline 2\n"), "our own newlines are kept"


def test_argument_errors_show_hostile_names(name, capsys):
    with pytest.raises(SystemExit):
        main(["recipes", f"--{name}"])
    require_harmless(capsys.readouterr().err, name)


@pytest.fixture
def protected():
    """Let warnings and log messages be protected during a test."""
    factory, shown, hook = logging.getLogRecordFactory(), warnings.showwarning, sys.excepthook
    protect_terminal()
    yield
    logging.setLogRecordFactory(factory)
    warnings.showwarning, sys.excepthook = shown, hook


def test_warnings_logs_and_tracebacks_show_hostile_names(name, protected, capsys):
    handler = logging.StreamHandler(sys.stderr)
    log = logging.getLogger("spectron.test_terminal")
    log.addHandler(handler)
    try:
        log.warning("left out %s", name)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            protect_terminal()
            warnings.warn(f"left out {name}", stacklevel=1)
        sys.excepthook(ValueError, ValueError(f"left out {name}"), None)
        printed = capsys.readouterr().err
        for line in name.split("\n"):
            require_harmless(printed, line, times=3)
    finally:
        log.removeHandler(handler)


def test_progress_bars_show_hostile_names(name):
    stream = io.StringIO()
    bar = progress.Progress(stream=stream)
    bar._write(f"step 1  {name} 0.5")
    bar.print(name.replace("\n", "\\n"))
    require_harmless(stream.getvalue(), name, times=2)
    task = SimpleNamespace(batches=[0], systems=lambda bench: [name])
    with Progress(*PROGRESS, console=Console(file=io.StringIO(), width=500)) as shown:
        list(_keys({name: task}, None, shown))
        shown.refresh()
    require_harmless(shown.console.file.getvalue().replace("\x1b[?25l", "").replace("\x1b[?25h", ""), name, times=2)


def test_bar_of_the_synthetic_corpus_shows_hostile_names(name, capsys):
    with progress_bar(name) as show:
        show(1, 2)
    printed = capsys.readouterr().err.replace("\r", "").replace("\x1b[A", "")
    assert not set(printed) & set("\x1b\0\x9b\u202e")


def test_visible_keeps_foreign_scripts_and_is_idempotent(name):
    joined = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}"
    for text in ("Straße, ça\N{NO-BREAK SPACE}va?", "日本語\N{IDEOGRAPHIC SPACE}", joined, "✓ → ↑"):
        assert visible(text) == text
    assert visible(visible(name)) == visible(name)


@pytest.mark.parametrize(
    "markdown", [lambda name: as_markdown(study_table(name)), lambda name: evaluations_as_markdown(evaluations(name))]
)
def test_markdown_has_no_markup_of_others(markdown):
    evil = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) `a` **b** | c\nd"
    text = markdown(evil)
    assert "<img" not in text
    assert "](" not in text
    assert re.search(r"(?<!\\)\*\*b", text) is None
    assert markdown_text("a\nb") == "a<br>b"


def test_only_the_terminal_module_prints():
    """Every other ``print``, ``Console`` and raw stream would be a way around it."""
    root = Path(spectron.__path__[0])
    found = []
    for path in sorted(root.rglob("*.py")):
        if path != root / "terminal.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Name) and called.id in ("print", "Console"):
                    found.append(f"{path.name}:{node.lineno}")
    assert not found


def test_process_of_the_command_shows_hostile_file_name(tmp_path):
    command = [sys.executable, "-m", "spectron", "recipes", b"--a\x1b[2J\xff"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 2
    assert rb"--a\x1b[2J\udcff" in done.stderr
