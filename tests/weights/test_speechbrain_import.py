"""The import of speechbrain next to a torchaudio that does not load."""

import sys

import pytest

from spectron.errors import MissingExtraError
from spectron.weights.speechbrain_import import import_speechbrain


def test_torchaudio_of_other_torch_refused(tmp_path, monkeypatch):
    (tmp_path / "torchaudio.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"MyEncoder needs a torchaudio .*libcudart") as raised:
        import_speechbrain("MyEncoder")
    assert raised.value.allowed == ("speechbrain",)
