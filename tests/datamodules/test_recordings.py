"""Recordings without text: segments, weights of corpora, and held-out speakers."""

import json
from collections import Counter

import pytest
import soundfile
import torch

from spectron.audio.resampling import SampleRates
from spectron.datamodules import RecordingsDataModule
from spectron.datamodules.recordings import Part
from spectron.datamodules.streaming import Batching
from spectron.errors import ConfigError, DataError

RATE = 8000


@pytest.fixture
def manifest(tmp_path):
    """Four speakers of two splits, a ramp each, so that a stretch tells where it was cut; one line without a split."""
    lines = []
    for number, (speaker, split) in enumerate(
        [("ann", "train"), ("ben", "train"), ("cid", "dev"), ("ann", "dev"), ("dan", None)]
    ):
        wave = torch.linspace(-0.9, 0.9, RATE * (1 + number % 2))
        soundfile.write(tmp_path / f"{number}.wav", wave.numpy(), RATE, subtype="FLOAT")
        lines.append(
            {"id": f"u{number}", "audio_filepath": f"{number}.wav", "text": None, "speaker": speaker, "split": split}
        )
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def module(manifest, train, val, rate=RATE, **settings) -> RecordingsDataModule:
    data = RecordingsDataModule(train, val, batching=Batching(batch_seconds=2.0, num_buckets=1), **settings)
    data.rates = SampleRates(rate, rate)
    data.setup("fit")
    return data


def test_segments_in_training_whole_in_validation(manifest, monkeypatch):
    said = []
    monkeypatch.setattr("spectron.datamodules.speech.rank_zero_info", said.append)
    data = module(manifest, [Part(manifest, None)], [Part(manifest, "dev")], stretch_seconds=0.25)
    assert said[-1] == f"{manifest}, lines without a split: 1 utterances used"
    stretch = next(iter(data.train_dataloader()))
    assert (stretch.ids, stretch.continuation_num_samples.tolist(), stretch.prompt.shape) == (
        ["u4"],
        [RATE // 4],
        (1, 0),
    )
    step = 1.8 / (RATE - 1)
    start = round((float(stretch.continuation[0, 0]) + 0.9) / step)
    expected = -0.9 + step * torch.arange(start, start + RATE // 4)
    torch.testing.assert_close(stretch.continuation[0], expected, atol=1e-4, rtol=0)
    whole = [batch for loader in data.val_dataloader() for batch in loader]
    assert sorted(n for batch in whole for n in batch.continuation_num_samples.tolist()) == [RATE, 2 * RATE]


def test_held_out_speakers_left_out_of_training(manifest):
    data = module(manifest, [Part(manifest, "train")], [Part(manifest, "dev")])
    assert {cut.supervisions[0].speaker for cut in data.train_cuts} == {"ben"}  # ann validates
    assert data.report["train: of a held-out speaker"] == 1
    with pytest.raises(DataError, match="held-out speaker"):
        module(manifest, [Part(manifest, None)], [Part(manifest, "dev")], held_out=[Part(manifest, None)])


def test_repeat_draws_new_segments(manifest):
    data = module(
        manifest,
        [Part(manifest, "train", repeat=3), Part(manifest, None)],
        [Part(manifest, "dev")],
        stretch_seconds=0.25,
    )
    assert Counter(cut.id.partition("#")[0] for cut in data.train_cuts) == {"u1": 3, "u4": 1}
    starts = set()
    for batch in data.epochs(0):
        made = data.dataset[(0, batch)]
        starts |= {
            round(float(row[0]), 4)
            for name, row in zip(made.ids, made.continuation, strict=True)
            if name.startswith("u1")
        }
    assert len(starts) == 3


def test_recordings_resampled(manifest):
    data = module(manifest, [Part(manifest, "train")], [Part(manifest, "dev")], rate=16000, stretch_seconds=0.5)
    assert next(iter(data.train_dataloader())).continuation_num_samples.tolist() == [8000]


@pytest.mark.parametrize("settings", [{"stretch_seconds": 0.0}])
def test_invalid_segment_settings_refused(manifest, settings):
    with pytest.raises(ConfigError) as raised:
        module(manifest, [Part(manifest, "train")], [Part(manifest, "dev")], **settings)
    assert raised.value.key == "stretch_seconds"


def test_invalid_repeat_refused():
    with pytest.raises(ConfigError) as raised:
        Part("m.jsonl", repeat=0)
    assert raised.value.key == "repeat"
