"""Tables of keys and defaults in the pages, compared with the code."""

import inspect
import re
from dataclasses import fields

import pytest
import yaml
from pages import doc

from spectron.audio.mel import MelConfig
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings
from spectron.evaluation.callbacks import SpeechEvaluation
from spectron.heads import LatentSettings, MelRegressionHead
from spectron.heads.mel_regression import PreNetSettings, StopSettings
from spectron.losses.spectrogram import SpectrogramLossSettings
from spectron.training.checkpoints import CheckpointSettings
from spectron.training.optimisation import Optimisation

ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| ", re.MULTILINE)
TABLES = {
    ("speech_heads", "`mel`, by default"): MelConfig,
    ("speech_heads", "`pre_net`:"): PreNetSettings,
    ("speech_heads", "`loss`: absolute"): SpectrogramLossSettings,
    ("speech_heads", "`stop`:"): StopSettings,
    ("speech_heads", "`latent`, of"): LatentSettings,
    ("configuration", "`model.optimisation`,"): Optimisation,
    ("configuration", "`checkpoints`:"): CheckpointSettings,
    ("configuration", "`batching`:"): Batching,
    ("configuration", "`splitting`:"): Splitting,
    ("configuration", "`corpus.settings`:"): CorpusSettings,
}


def table(page, above):
    """Return the keys and defaults of the first table below a line."""
    text = doc(page)
    rows = text[text.index(f"\n{above}") :].partition("\n|---")[2].partition("\n\n")[0]
    return {key: yaml.safe_load(default.replace("\\|", "|")) for key, default in ROW.findall(rows)}


@pytest.mark.parametrize(("place", "settings"), TABLES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_settings_table_has_every_key_and_default(place, settings):
    assert table(*place) == {field.name: getattr(settings(), field.name) for field in fields(settings)}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (("speech_heads", "Both take these keys"), MelRegressionHead),
        (("configuration", "`callbacks.speech` ("), SpeechEvaluation),
    ],
)
def test_class_table_has_every_plain_default(place, kind):
    plain = {
        name: parameter.default
        for name, parameter in inspect.signature(kind).parameters.items()
        if isinstance(parameter.default, bool | int | float)
    }
    assert {key: default for key, default in table(*place).items() if default is not None} == plain
