"""Code and YAML that pages show without commands: they compose, build and give what the page states."""

import re

import pytest
import yaml
from pages import README, blocks, doc
from places import EXPERIMENTS, ROOT
from vocoders import LJ_SPEECH, write_authors_hifigan, write_transformers_hifigan

from spectron.audio.mel import MelConfig
from spectron.config.composition import compose
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment
from spectron.vocoders import HiFiGANVocoder, VocosVocoder

LINES = """
extends: {base}
name: lines
data:
  init_args:
    manifest: {corpus}/questions.jsonl
    corpus: null
    continuation_data: null
{text}
"""


@pytest.fixture
def lines_experiment(tmp_path, small_corpus):
    """Write the page's source of lines, and an experiment with the page's YAML that names it."""
    page = doc("language_models")
    code = next(code for code in blocks(page, "python") if code.startswith("# my_lines.py"))
    (tmp_path / "my_lines.py").write_text(code)
    text = next(block for block in blocks(page, "yaml") if block.lstrip().startswith("text: {source: "))
    path = tmp_path / "lines.yaml"
    path.write_text(LINES.format(base=EXPERIMENTS / "mini" / "small.yaml", corpus=small_corpus, text=text))
    return path


@pytest.fixture
def vocoder_blocks():
    """Return the YAML blocks of the page on vocoders: the project's own, HiFi-GAN, and SpeechT5's HiFi-GAN."""
    return blocks(doc("vocoders"), "yaml")


@pytest.fixture
def hifigan_files(vocoder_blocks, tmp_path, monkeypatch):
    """Write the page's two HiFi-GAN experiments, the second as a delta of the first."""
    monkeypatch.setenv("SPECTRON_DATA", str(tmp_path))
    _, first, second = vocoder_blocks
    (tmp_path / "hifigan.yaml").write_text(first.replace("extends: ", f"extends: {EXPERIMENTS}/"))
    (tmp_path / "speecht5.yaml").write_text("extends: hifigan.yaml\n" + second)
    return tmp_path


def test_readme_delta_composes(tmp_path):
    delta = next(block for block in blocks(README.read_text(), "yaml") if "FrameStackEncoder" in block)
    file = tmp_path / "frame_stack.yaml"
    file.write_text(delta.replace("extends: small.yaml", f"extends: {EXPERIMENTS}/mini/small.yaml"))
    assert Experiment.read(file).config["model"]["encoder"]["class_path"] == "spectron.encoders.FrameStackEncoder"


def test_line_source_is_read_and_mixed(lines_experiment):
    data = Experiment.read(lines_experiment).data()
    data.setup("fit")
    assert data.train_lines[2] == "3 times 3 is 9"
    assert data.interleaved.share.denominator == 10
    assert data.fingerprint()["squares"] == "1 to 99"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.init_args.text.ratoi=0.2", r"data\.init_args\.text\.ratoi.*Did you mean `ratio`"),
        (
            "data.init_args.text.source.class_path=my_lines.Circles",
            r"text\.source\.class_path.*`my_lines` has no class `Circles`",
        ),
    ],
)
def test_line_source_misspelt_is_an_error(override, message, lines_experiment):
    with pytest.raises(ConfigError) as raised:
        Experiment.read(lines_experiment, [override])
    assert re.search(message, str(raised.value), re.DOTALL)


def test_own_vocoder_takes_the_default_spectrogram(vocoder_blocks):
    vocoder = yaml.safe_load(vocoder_blocks[0])["model"]["vocoder"]
    built = VocosVocoder(MelConfig(), source=str(ROOT / vocoder["init_args"]["source"]))
    assert built.settings.vocos.draft_rounds == 64


def test_hifigan_experiment_is_complete_and_consistent(hifigan_files):
    model = Experiment.read(hifigan_files / "hifigan.yaml").config["model"]
    write_authors_hifigan(hifigan_files / "hifigan_v3_lj", "2", LJ_SPEECH)
    HiFiGANVocoder(MelConfig(**model["head"]["init_args"]["mel"]), **model["vocoder"]["init_args"])


def test_speecht5_settings_serve_head_and_vocoder(hifigan_files):
    Experiment.read(hifigan_files / "speecht5.yaml")
    model = compose(hifigan_files / "speecht5.yaml").values["model"]
    arguments = model["vocoder"]["init_args"]
    mel = MelConfig(**model["head"]["init_args"]["mel"])
    assert MelConfig(**arguments["trained_on"]) == mel
    sizes = {"model_in_dim": 80, "upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]}
    folder = write_transformers_hifigan(hifigan_files / "speecht5", described=False, **sizes)
    HiFiGANVocoder(mel, str(folder), trained_on=MelConfig(**arguments["trained_on"]))
