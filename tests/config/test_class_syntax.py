"""Kind of a user's class from the text of its file: what is plainly wrong does not run, what may be right does."""

import pytest

from spectron.config.class_syntax import wrong_by_syntax
from spectron.contracts import SpeechHead, Vocoder
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment

WRONG = {
    "nothing": "",
    "another name": "from spectron.contracts import Vocoder\nclass W(Vocoder): ...",
    "function": "def V(format): ...",
    "plain class": "class V: ...",
    "object": "class V(object): ...",
    "builtin": "class V(dict): ...",
    "module": "import torch\nclass V(torch.nn.Module): ...",
    "module by alias": "from torch import nn as n\nclass V(n.Module): ...",
    "other part": "from spectron.contracts import SpeechHead\nclass V(SpeechHead): ...",
    "through own base": "from torch import nn\nclass B(nn.Module): ...\nclass V(B): ...",
}
PERHAPS = {
    "vocoder": "from spectron.contracts import Vocoder\nclass V(Vocoder): ...",
    "library vocoder": "from spectron import vocoders\nclass V(vocoders.GriffinLimVocoder): ...",
    "through own base": "from spectron.contracts import Vocoder\nclass B(Vocoder): ...\nclass V(B): ...",
    "unknown base": "from elsewhere import B\nclass V(B): ...",
    "made by a call": "def make(): ...\nV = make()",
    "imported": "from elsewhere import V",
    "star": "from elsewhere import *",
    "module getattr": "def __getattr__(name): ...",
    "twice": "class V: ...\nV = 3",
    "decorated": "import elsewhere\n@elsewhere.changed\nclass V: ...",
    "metaclass": "import elsewhere\nclass V(metaclass=elsewhere.M): ...",
    "in a condition": "if 1:\n    V = 3\nelse:\n    class V: ...",
    "syntax error": "class V(:",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_class_of_wrong_kind_is_seen_without_running(text, tmp_path):
    (tmp_path / "own.py").write_text(f"open('ran', 'w')\n{text}\n")
    assert wrong_by_syntax(tmp_path / "own.py", "V", [Vocoder]) is not None


@pytest.mark.parametrize("text", PERHAPS.values(), ids=PERHAPS)
def test_class_that_may_be_right_is_not_refused(text, tmp_path):
    (tmp_path / "own.py").write_text(text)
    assert wrong_by_syntax(tmp_path / "own.py", "V", [SpeechHead, Vocoder]) is None


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_file_of_wrong_kind_leaves_no_trace(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(f"open('ran', 'w').close()\n{text}\n")
    yaml = "name: x\ntask: spectron.training.VocoderModule\nmodel: {vocoder: {class_path: own.py:V}}\n"
    (tmp_path / "x.yaml").write_text(yaml)
    with pytest.raises(ConfigError) as raised:
        Experiment.read(tmp_path / "x.yaml")
    assert raised.value.key == "model.vocoder.class_path"
    assert not (tmp_path / "ran").exists()
