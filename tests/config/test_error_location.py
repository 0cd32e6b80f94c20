"""An error of a part names the key that it is about, and the file that says it."""

from pathlib import Path

import pytest
from places import TINY

from spectron.config.error_location import Section, key_of_file
from spectron.errors import CheckpointError, ConfigError, DataError
from spectron.experiment.experiment import Experiment

PARTS = """
import torch
from tiny_task import Squash
from spectron.errors import CheckpointError, ConfigError


class Refusing(Squash):
    def __init__(self, width: int, source: str = "", inner: Squash | None = None, slope: float = 1.0) -> None:
        if source == "typed":
            raise ConfigError(f"source: no folder {source!r}. Correct it")
        if source == "plain":
            raise ValueError("source must not be plain")
        if source == "dotted":
            raise ConfigError("source.text: is missing")
        if source == "weights":
            raise CheckpointError("source: does not cover the model")
        if source == "supplied":
            raise ConfigError("width: 4 is too narrow")
        if source == "other":
            raise ConfigError("the moon is not full")
        if source == "forgetful":
            self.linear = torch.nn.Linear(1, 1)
        super().__init__(width, slope)


class Inner(Squash):
    def __init__(self, source: str = "") -> None:
        if source:
            raise ConfigError(f"source: no folder {source!r}")
        super().__init__(1)
"""


@pytest.fixture
def yaml(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(TINY.parent)
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "delta.yaml"
    path.write_text(
        f"extends: {TINY}\nmodel: {{end: {{class_path: parts.py:Refusing, init_args: {{source: typed}}}}}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("typed", ConfigError, r"^model\.end\.init_args\.source: no folder 'typed'\. Correct it \(in FILE\)$"),
        ("plain", ConfigError, r"^model\.end\.init_args\.source: Refusing: source must not be plain \(in FILE\)$"),
        ("dotted", ConfigError, r"^model\.end\.init_args\.source\.text: is missing \(in FILE\)$"),
        ("weights", CheckpointError, r"^model\.end\.init_args\.source: does not cover the model \(in FILE\)$"),
        ("supplied", ConfigError, r"^model\.end: Refusing: width: 4 is too narrow \(in FILE\)$"),
        ("other", ConfigError, r"^model\.end: Refusing: the moon is not full \(in FILE\)$"),
        (
            "forgetful",
            ConfigError,
            r"^model\.end: Refusing: parts\.py, line 22: AttributeError: cannot assign module before Module",
        ),
    ],
)
def test_a_part_that_refuses(yaml, source, kind, message):
    yaml.write_text(yaml.read_text().replace("typed", source))
    with pytest.raises(kind, match=message.replace("FILE", str(yaml))):
        Experiment.read(yaml).module()


def test_a_part_within_a_part(yaml):
    inner = f"model.end.init_args.inner={{class_path: {yaml.parent}/parts.py:Inner, init_args: {{source: gone}}}}"
    with pytest.raises(
        ConfigError,
        match=r"^model\.end\.init_args\.inner\.init_args\.source: no folder 'gone' \(in the command line\)$",
    ):
        Experiment.read(yaml, ["model.end.init_args.source=fine", inner]).module()


def test_of_two_parts_of_one_class_the_one_at_fault(yaml):
    (yaml.parent / "calls.py").write_text(
        "from lightning.pytorch import Callback\n\n\nclass Call(Callback):\n    def __init__(self, name: str) -> None:\n"
        "        if name == 'two':\n            raise ValueError(f'name: {name} is taken')\n"
    )
    calls = [
        f"callbacks.{name}={{class_path: {yaml.parent}/calls.py:Call, init_args: {{name: {name}}}}}"
        for name in ("one", "two")
    ]
    with pytest.raises(ConfigError, match=r"^callbacks\.two\.init_args\.name: two is taken"):
        Experiment.read(TINY, calls).callbacks()


DATA = {
    "class_path": "spectron.datamodules.RecordingsDataModule",
    "init_args": {
        "train": [{"manifest": "a/x.jsonl", "split": "dev"}, {"manifest": "nope.jsonl"}],
        "val": ["/b/y.jsonl"],
        "corpus": {"folder": "/b"},
    },
}


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (f"there is no file {Path.cwd()}/nope.jsonl: correct the path", "data.init_args.train.1.manifest"),
        ("a/x.jsonl:3 is not JSON", "data.init_args.train.0.manifest"),
        ("no utterance of split 'dev' in nope.jsonl is left", "data.init_args.train.1.manifest"),
        ("/b/y.jsonl uses an id twice", "data.init_args.val.0"),
        ("/b holds a synthetic corpus with other settings", "data.init_args.corpus.folder"),
        ("a pass over split dev gave no batch", None),
        ("/b-side/y.jsonl, aa/x.jsonl and nope.jsonl.gz", None),
    ],
)
def test_the_file_that_an_error_is_about_has_a_key(message, key):
    found = key_of_file(DataError(message), Section("data", DATA))
    assert (found and ".".join(found)) == key


def test_a_defect_of_the_platform_keeps_its_traceback(monkeypatch):
    import lightning

    monkeypatch.setattr(lightning.LightningModule, "__init__", lambda self: 1 / 0)
    monkeypatch.setattr("spectron.config.error_location.is_users_own", lambda cls: False)
    with pytest.raises(ZeroDivisionError):
        Experiment.read(TINY).module()
