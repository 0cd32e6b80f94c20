"""The page on language models does what it says, its own source of lines as typed."""

import re

import pytest
from places import ROOT

from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment

PAGE = (ROOT / "docs" / "language_models.md").read_text(encoding="utf-8")
EXPERIMENT = """
extends: {base}
name: lines
data:
  init_args:
    manifest: {corpus}/questions.jsonl
    corpus: null
    continuation_data: null
{text}
"""


def test_lines_of_ones_own_by_class_path(tmp_path, small_corpus, monkeypatch):
    code = re.search(r"```python\n(# my_lines\.py\n.*?)```", PAGE, re.DOTALL).group(1)
    (tmp_path / "my_lines.py").write_text(code)
    text = re.search(r"```yaml\n( +text: \{source: .*?)\n```", PAGE, re.DOTALL).group(1)
    path = tmp_path / "lines.yaml"
    path.write_text(
        EXPERIMENT.format(base=ROOT / "experiments" / "mini" / "small.yaml", corpus=small_corpus, text=text)
    )
    data = Experiment.read(path).data()
    data.setup("fit")
    assert data.train_lines[2] == "3 times 3 is 9"
    assert data.interleaved.share.denominator == 10
    assert data.fingerprint()["squares"] == "1 to 99"
    with pytest.raises(ConfigError, match=r"data\.init_args\.text\.ratoi: .*Did you mean `ratio`"):
        Experiment.read(path, ["data.init_args.text.ratoi=0.2"])
    with pytest.raises(ConfigError, match=r"text\.source\.class_path: `my_lines` has no class `Circles`"):
        Experiment.read(path, ["data.init_args.text.source.class_path=my_lines.Circles"])
