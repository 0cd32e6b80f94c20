"""Items that cannot be used: without text, without words, silent."""

import json

import numpy as np
import pytest
import soundfile

from spectron.audio.resampling import SampleRates
from spectron.datamodules.continuation import ContinuationDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.spoken_qa import SpokenQADataModule
from spectron.datamodules.transcribed import TranscribedSpeechDataModule


def change_line(manifest, number, **fields):
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[number] |= fields
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(manifest)


@pytest.mark.parametrize("text", ["", " ", "\ufeff", None])
@pytest.mark.parametrize("kind", [SpokenQADataModule, TranscribedSpeechDataModule])
def test_item_without_needed_text_is_left_out_and_counted(speech, kind, text):
    manifest = change_line(speech([1.5, 1.5, 1.5], split="dev", answers=["paris"]), 1, text=text, words=None)
    data = kind(manifest, **({"val_splits": ["dev"]} if kind is SpokenQADataModule else {}))
    data.setup("validate")
    assert data.item_ids() == ["u0", "u2"]
    assert [count for name, count in data.report.items() if "without" in name] == [1]


def test_utterance_without_words_is_left_out_and_counted(speech):
    manifest = change_line(speech([1.5, 1.5], split="dev"), 1, text=None, words=[])
    data = ContinuationDataModule(manifest, splitting=Splitting(0.5))
    data.setup("validate")
    assert data.item_ids() == ["u0"]
    assert data.report["dev: without words"] == 1


@pytest.mark.parametrize("sound", [np.zeros(24000), np.full(24000, 0.3)], ids=["zeros", "offset"])
def test_silent_recording_is_left_out_by_name(speech, tmp_path, sound):
    manifest = speech([1.5, 1.5], split="dev", answers=["paris"])
    soundfile.write(tmp_path / "u1.flac", sound, 16000)
    for data in (
        ContinuationDataModule(str(manifest), splitting=Splitting(0.5)),
        SpokenQADataModule(str(manifest), ["dev"]),
    ):
        data.setup("validate")
        data.rates = SampleRates(16000, 16000)
        (batch,) = data.item_batches()
        assert batch.ids == ["u0"]
        assert "u1.flac is silent" in batch.skipped[0]
