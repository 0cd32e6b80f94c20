"""Building of parts: the key and origin of an error, and the arguments that a class is given."""

from pathlib import Path

import pytest
from places import TINY

from spectron.config.building import key_of_file
from spectron.errors import CheckpointError, ConfigError, DataError, about_file, errors_of_part
from spectron.experiment.experiment import Experiment

PARTS = """
import torch
from tiny_task import Squash
from spectron.errors import CheckpointError, ConfigError, DataError


class Refusing(Squash):
    def __init__(self, width: int, source: str = "", inner: Squash | None = None, slope: float = 1.0) -> None:
        if source == "key":
            raise ConfigError(f"no folder {source!r}. Correct it", key="source")
        if source == "nested":
            raise ConfigError("is missing", key="source.text")
        if source == "weights":
            raise CheckpointError("does not cover the model", key="source")
        if source == "file":
            raise DataError("is empty", file="file")
        if source == "missing":
            open(source)
        if source == "supplied":
            raise ConfigError("4 is too narrow", key="width")
        if source == "part":
            raise ConfigError("the moon is not full")
        if source == "plain":
            raise ValueError("source must not be plain")
        if source == "forgetful":
            self.linear = torch.nn.Linear(1, 1)
        super().__init__(width, slope)


class Inner(Squash):
    def __init__(self, source: str = "") -> None:
        if source:
            raise ConfigError(f"no folder {source!r}", key="source")
        super().__init__(1)
"""


@pytest.fixture
def yaml(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TINY.parent)
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "delta.yaml"
    path.write_text(
        f"extends: {TINY}\nmodel: {{end: {{class_path: parts.py:Refusing, init_args: {{source: WHICH}}}}}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("source", "kind", "key", "message"),
    [
        ("key", ConfigError, "model.end.init_args.source", "no folder 'key'. Correct it"),
        ("nested", ConfigError, "model.end.init_args.source.text", "is missing"),
        ("weights", CheckpointError, "model.end.init_args.source", "does not cover the model"),
        ("file", DataError, "model.end.init_args.source", "is empty"),
        ("missing", ConfigError, "model.end.init_args.source", "[Errno 2] No such file or directory: 'missing'"),
        ("supplied", ConfigError, "model.end", "Refusing: width: 4 is too narrow"),
        ("part", ConfigError, "model.end", "Refusing: the moon is not full"),
        ("plain", ConfigError, "model.end", "Refusing: source must not be plain"),
        (
            "forgetful",
            ConfigError,
            "model.end",
            "Refusing: parts.py, line 26: AttributeError: cannot assign module before Module.__init__() call",
        ),
    ],
)
def test_error_of_part_has_key_and_origin(yaml, source, kind, key, message):
    yaml.write_text(yaml.read_text().replace("WHICH", source))
    with pytest.raises(kind) as raised:
        Experiment.read(yaml).module()
    error = raised.value
    assert (type(error), error.key, error.origin, error.message) == (kind, key, str(yaml), message)


def test_error_of_inner_part_has_whole_key(yaml):
    inner = f"model.end.init_args.inner={{class_path: {yaml.parent}/parts.py:Inner, init_args: {{source: gone}}}}"
    with pytest.raises(ConfigError) as raised:
        Experiment.read(yaml, ["model.end.init_args.source=fine", inner]).module()
    assert (raised.value.key, raised.value.origin) == (
        "model.end.init_args.inner.init_args.source",
        "the command line",
    )


def test_error_names_second_part_of_same_class(yaml):
    (yaml.parent / "calls.py").write_text(
        "from lightning.pytorch import Callback\nfrom spectron.errors import ConfigError\n\n\n"
        "class Call(Callback):\n    def __init__(self, name: str) -> None:\n"
        "        if name == 'two':\n            raise ConfigError(f'{name} is taken', key='name')\n"
    )
    calls = [
        f"callbacks.{name}={{class_path: {yaml.parent}/calls.py:Call, init_args: {{name: {name}}}}}"
        for name in ("one", "two")
    ]
    with pytest.raises(ConfigError) as raised:
        Experiment.read(TINY, calls).callbacks()
    assert raised.value.key == "callbacks.two.init_args.name"


DATA = {
    "class_path": "spectron.datamodules.RecordingsDataModule",
    "init_args": {
        "train": [{"manifest": "a/x.jsonl", "split": "dev"}, {"manifest": "nope.jsonl"}],
        "val": ["/b/y.jsonl"],
        "corpus": {"folder": "/b"},
    },
}


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (Path.cwd() / "nope.jsonl", "init_args.train.1.manifest"),
        (Path("a/x.jsonl"), "init_args.train.0.manifest"),
        (Path("/b/y.jsonl"), "init_args.val.0"),
        (Path("/b"), "init_args.corpus.folder"),
        (Path("/b-side/y.jsonl"), ""),
        (Path("aa/x.jsonl"), ""),
        (None, ""),
    ],
)
def test_file_of_error_leads_to_key(file, key):
    assert ".".join(key_of_file(file, DATA)) == key


def test_about_file_keeps_inner_file():
    with pytest.raises(DataError) as raised, about_file("outer"), about_file("inner"):
        raise DataError("is broken")
    assert raised.value.file == Path("inner")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("is wrong", key="source"), "judge.init_args.source: is wrong"),
        (ConfigError("is wrong"), "judge: str: is wrong"),
        (ConfigError("is wrong", key="a", origin="x.yaml"), "a: is wrong (in x.yaml)"),
    ],
)
def test_error_of_part_gets_argument(error, text):
    with pytest.raises(ConfigError) as raised, errors_of_part("judge", "a part"):
        raise error
    assert str(raised.value) == text


def test_defect_of_spectron_keeps_its_traceback(monkeypatch):
    import lightning

    monkeypatch.setattr(lightning.LightningModule, "__init__", lambda self: 1 / 0)
    monkeypatch.setattr("spectron.config.building.is_users_own", lambda cls: False)
    with pytest.raises(ZeroDivisionError):
        Experiment.read(TINY).module()


def test_class_without_the_supplied_argument_is_refused(yaml):
    (yaml.parent / "bare.py").write_text(
        "import tiny_task\n\n\nclass Bare(tiny_task.Squash):\n"
        "    def __init__(self) -> None:\n        super().__init__(1)\n"
    )
    with pytest.raises(ConfigError, match="the constructor of Bare must take int as its first argument") as raised:
        Experiment.read(TINY, [f"model.end={yaml.parent}/bare.py:Bare"])
    assert raised.value.key == "model.end.class_path"
