"""What docs/vocoders.md shows is what the code takes."""

import re

import pytest
import yaml
from places import ROOT
from vocoders import LJ_SPEECH, write_authors_hifigan, write_transformers_hifigan

from spectron.audio.mel import MelConfig
from spectron.config.composition import compose
from spectron.experiment.experiment import Experiment
from spectron.vocoders import HiFiGANVocoder, VocosVocoder

BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "vocoders.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The page's experiments as files, the second as a delta on the first."""
    monkeypatch.setenv("SPECTRON_DATA", str(tmp_path))
    _, first, second = BLOCKS
    (tmp_path / "hifigan.yaml").write_text(first.replace("extends: ", f"extends: {ROOT}/experiments/"))
    (tmp_path / "speecht5.yaml").write_text("extends: hifigan.yaml\n" + second)
    return tmp_path


def test_the_projects_own_inverts_the_heads_default_spectrogram():
    vocoder = yaml.safe_load(BLOCKS[0])["model"]["vocoder"]
    built = VocosVocoder(MelConfig(), source=str(ROOT / vocoder["init_args"]["source"]))
    assert built.settings.vocos.draft_rounds == 64


def test_the_first_experiment_is_whole_and_its_settings_agree(shown):
    model = Experiment.read(shown / "hifigan.yaml").config["model"]
    write_authors_hifigan(shown / "hifigan_v3_lj", "2", LJ_SPEECH)
    HiFiGANVocoder(MelConfig(**model["head"]["init_args"]["mel"]), **model["vocoder"]["init_args"])


def test_settings_stated_once_serve_head_and_vocoder(shown):
    Experiment.read(shown / "speecht5.yaml")
    model = compose(shown / "speecht5.yaml").values["model"]
    arguments = model["vocoder"]["init_args"]
    mel = MelConfig(**model["head"]["init_args"]["mel"])
    assert MelConfig(**arguments["trained_on"]) == mel
    sizes = {"model_in_dim": 80, "upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]}
    folder = write_transformers_hifigan(shown / "speecht5", described=False, **sizes)
    HiFiGANVocoder(mel, str(folder), trained_on=MelConfig(**arguments["trained_on"]))
