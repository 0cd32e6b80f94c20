"""Classes in Python files next to the YAML: loaded, kept apart, stored with a run, and loaded again."""

from pathlib import Path

import pytest
import torch
import yaml
from places import TINY

from spectron.cli.parser import main
from spectron.config.composition import compose
from spectron.config.user_classes import code_files, reference_of
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment
from spectron.experiment.fitting import fit
from spectron.experiment.loading import find_source, load_experiment, load_module

END = """
from beside_it import OFFSET
from tiny_task import Squash


class Own(Squash):
    mark = "MARK"

    def __init__(self, width: int, slope: float = 1.0, inner: Squash | None = None) -> None:
        super().__init__(width, slope + OFFSET)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TINY.parent)

    def write(name, end="own_end.py:Own", mark="one"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "own_end.py").write_text(END.replace("MARK", mark))
        (folder / "beside_it.py").write_text("OFFSET = 0.5\n")
        (folder / "x.yaml").write_text(
            f"extends: {TINY}\nname: own-{name}\nmodel: {{end: {{class_path: {end}, init_args: {{slope: 3.0}}}}}}\n"
        )
        return folder / "x.yaml"

    return write


def test_path_is_relative_to_yaml(write, tmp_path, monkeypatch):
    path = write("one")
    (tmp_path / "delta.yaml").write_text("extends: one/x.yaml\n")
    own = f"{path.parent}/own_end.py:Own"
    assert compose(tmp_path / "delta.yaml").values["model"]["end"]["class_path"] == own
    monkeypatch.chdir(path.parent)
    assert compose(TINY, ["model.end=own_end.py:Own"]).values["model"]["end"] == own
    monkeypatch.setenv("HOME", str(path.parent))
    assert compose(TINY, ["model.end.class_path=~/own_end.py:Own"]).values["model"]["end"]["class_path"] == own


def test_class_is_built_and_stored_with_its_file(write):
    path = write("built")
    experiment = Experiment.read(path)
    own = f"{path.parent}/own_end.py:Own"
    assert experiment.config["model"]["end"] == {"class_path": own, "init_args": {"slope": 3.0, "inner": None}}
    end = experiment.module().model["end"]
    assert (type(end).__name__, end.slope, reference_of(type(end))) == ("Own", 3.5, own)


def test_files_of_one_name_are_separate_modules(write):
    one, two = (Experiment.read(write(name, mark=name)).module().model["end"] for name in ("first", "second"))
    assert (one.mark, two.mark) == ("first", "second")
    assert type(Experiment.read(TINY, [f"model.end={reference_of(type(one))}"]).module().model["end"]) is type(one)


def test_file_named_like_module_hides_nothing(write, tmp_path):
    import json

    path = write("json")
    own = path.parent / "json.py"
    own.write_text((path.parent / "own_end.py").read_text())
    end = Experiment.read(path, [f"model.end.class_path={own}:Own"]).module().model["end"]
    assert type(end).__module__ != "json"
    assert json.loads("1") == 1


def test_reference_is_accepted_for_every_class(write, tmp_path):
    path = write("everywhere")
    (path.parent / "rest.py").write_text(
        "from lightning.pytorch import Callback\nimport tiny_task\n\n\nclass Call(Callback):\n    pass\n\n\n"
        "class Data(tiny_task.TinyData):\n    pass\n\n\nclass Task(tiny_task.TinyTask):\n    pass\n"
    )
    rest = f"{path.parent}/rest.py"
    inner = f"model.end.init_args.inner={{class_path: {path.parent}/own_end.py:Own, init_args: {{width: 2}}}}"
    experiment = Experiment.read(path, [f"task={rest}:Task", f"data={rest}:Data", f"callbacks.call={rest}:Call", inner])
    assert experiment.config["task"] == f"{rest}:Task"
    assert [type(part).__name__ for part in (experiment.module(), experiment.data(), *experiment.callbacks())] == [
        "Task",
        "Data",
        "Call",
    ]
    assert code_files(experiment.config) == {"rest.py": Path(rest), "own_end.py": path.parent / "own_end.py"}


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            "own_and.py:Own",
            r"there is no file \S+/own_and\.py\. Did you mean `\S+/own_end\.py`\?",
        ),
        (
            "nowhere/own_end.py:Own",
            r"there is no file .*The folder \S+/nowhere does not exist either.*KEY=PATH/FILE\.py:Class",
        ),
        ("own_end.py:Onw", r"own_end\.py has no class `Onw`\. Did you mean `\S+/own_end\.py:Own`\?"),
        (
            "own_end.py",
            r"`own_end\.py` names a file, and no class in it\. Write file\.py:Class, such as",
        ),
        ("own_end.py:OFFSET", r"own_end\.py has no class `OFFSET`"),
        ("'${here}/wrong_syntax.py:Own'", r"wrong_syntax\.py cannot be imported: line 2: SyntaxError"),
        (
            "wrong_name.py:Own",
            r"wrong_name\.py cannot be imported: line 3: NameError: name 'nonsense' is not defined\.",
        ),
        (
            "wrong_import.py:Own",
            r"wrong_import\.py cannot be imported: line 1: ModuleNotFoundError: No module named 'no_such_thing'",
        ),
        ("plain.py:Plain", r"`Plain` of \S+/plain\.py derives from no other class and is not a Squash"),
    ],
)
def test_wrong_reference_is_explained(write, end, message):
    path = write("wrong", end=end)
    Experiment.read(path, [f"model.end.class_path={path.parent}/own_end.py:Own"])  # its class is known from here on
    (path.parent / "wrong_syntax.py").write_text("x = 1\nclass :\n")
    (path.parent / "wrong_name.py").write_text("x = 1\n\nnonsense\nOwn = x\n")
    (path.parent / "wrong_import.py").write_text("import no_such_thing\n\nOwn = no_such_thing.Own\n")
    (path.parent / "plain.py").write_text("class Plain:\n    pass\n")
    with pytest.raises(ConfigError, match=message) as raised:
        Experiment.read(path)
    assert (raised.value.key, raised.value.origin) == ("model.end.class_path", str(path))


def test_run_keeps_file_and_warns_of_change(write, runs):
    path = write("kept")
    own = path.parent / "own_end.py"
    first = fit(Experiment.read(path))
    assert (first.folder / "code" / "own_end.py").read_text() == own.read_text()
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["model"]["end"]["class_path"] == f"{own}:Own"
    own.write_text(own.read_text() + "\n# another thought\n")
    with pytest.warns() as told:
        fit(Experiment.read(path, ["trainer.max_steps=6"]), resume="")
    assert any(f"{own} has changed since run {first.run_id} started" in str(warning.message) for warning in told)


def test_checkpoint_and_export_load_moved_file(write, runs, tmp_path, capsys):
    path = write("moved")
    outcome = fit(Experiment.read(path))
    slope = load_module(outcome.run_id, trust=True).model["end"].slope
    assert main(["export", "--trust", outcome.run_id, str(tmp_path / "exported")]) == 0
    assert type(load_module(str(tmp_path / "exported"), trust=True).model["end"]).__name__ == "Own"
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectron.config.user_classes._modules", {})
        with pytest.raises(ConfigError, match="override this key") as raised:
            load_experiment(find_source(outcome.run_id), trust=True)
        assert (raised.value.key, raised.value.file) == ("model.end.class_path", path.parent / "own_end.py")
        new = f"model.end.class_path={tmp_path}/elsewhere/own_end.py:Own"
        again = load_module(outcome.run_id, overrides=[new], trust=True)
        assert again.model["end"].slope == slope == 3.5, "arguments stay with the class"
        state = torch.load(outcome.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(tensor, state[key]) for key, tensor in again.state_dict().items())
        assert main(["export", "--trust", outcome.run_id, str(tmp_path / "again"), new]) == 0
    assert f"{tmp_path}/elsewhere/own_end.py:Own" in (tmp_path / "again" / "config.yaml").read_text()
