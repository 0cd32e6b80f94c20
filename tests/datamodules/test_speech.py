"""Data modules of speech: content of batches, dropped utterances, broken files."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spectron import datamodules
from spectron.audio.io import read_audio
from spectron.audio.resampling import SampleRates, resample
from spectron.datamodules import streaming
from spectron.datamodules.continuation import ContinuationDataModule
from spectron.datamodules.lines import TextMix
from spectron.datamodules.recordings import Part, RecordingsDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.spoken_qa import ContinuationData, SpokenQADataModule
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.datamodules.text_lines import TextDataModule
from spectron.datamodules.transcribed import TranscribedSpeechDataModule
from spectron.errors import DataError, TrainingError

BATCHING = Batching(batch_seconds=20.0)
SPLITTING = Splitting(1.0, min_continuation_seconds=0.5)


def ready(data, prompt_hz=16000, speech_hz=16000):
    data.rates = SampleRates(prompt_hz, speech_hz)
    data.setup("fit")
    return data


def train_batches(data, count):
    return list(islice(data.train_dataloader(), count))


def test_batch_rows_at_both_sample_rates(speech, tmp_path):
    data = ready(
        ContinuationDataModule(str(speech([2.0, 2.0, 3.0])), splitting=SPLITTING, batching=BATCHING), 8000, 24000
    )
    batch = train_batches(data, 1)[0]
    for row, name in enumerate(batch.ids):
        waveform, rate = read_audio(tmp_path / f"{name}.flac")
        lengths = int(batch.prompt_num_samples[row]), int(batch.continuation_num_samples[row])
        assert lengths == (8000, (len(waveform) - rate) * 24000 // rate)
        assert torch.equal(batch.prompt[row, : lengths[0]], resample(waveform[:rate], rate, 8000))
        assert torch.equal(batch.continuation[row, : lengths[1]], resample(waveform[rate:], rate, 24000))
        assert not batch.continuation[row, lengths[1] :].any()
        assert batch.prompt_text[row] == "w0 w1"
        assert batch.continuation_text[row] == " ".join(f"w{index}" for index in range(2, {"u1": 4, "u2": 6}[name]))
        assert " ".join(word.text for word in batch.continuation_words[row]) == batch.continuation_text[row]
        assert all(0 <= word.begin < word.end <= lengths[1] / 24000 for word in batch.continuation_words[row])
        assert batch.speakers[row] == {"u1": "s1", "u2": "s2"}[name]
    assert batch.answers == [[], []]


def test_dropped_utterances_counted_and_reported(speech, monkeypatch):
    manifest = speech([2.0, 1.2, 1.4, 2.0, 9.0])
    said = []
    monkeypatch.setattr("spectron.datamodules.speech.rank_zero_info", said.append)
    data = ready(ContinuationDataModule(str(manifest), splitting=SPLITTING, batching=BATCHING, max_seconds=5.0))
    reason = "too short for a prompt of 1 s and a continuation of 0.5 s"
    assert data.report == {
        "dev: used": 1,
        "train: used": 1,
        f"train: {reason}": 2,
        "train: longer than max_seconds=5": 1,
    }
    assert (
        said[1]
        == f"{manifest}, split train: 1 utterances used; 2 dropped: {reason}; 1 dropped: longer than max_seconds=5"
    )
    with pytest.raises(DataError, match=r"no utterance of split 'train'.*4 longer than max_seconds=0\.5"):
        ready(TranscribedSpeechDataModule(str(manifest), val_split="train", max_seconds=0.5))


def test_missing_word_times_refused_or_empty(speech):
    manifest = str(speech([2.0, 2.0], words=None))
    with pytest.raises(DataError, match=r"manifest\.jsonl:1 has no word times.*require_words"):
        ready(ContinuationDataModule(manifest, splitting=SPLITTING))
    with pytest.raises(DataError, match="no word times"):
        ready(ContinuationDataModule(manifest, splitting=Splitting(1.0, word_boundary=True, require_words=False)))
    data = ready(ContinuationDataModule(manifest, splitting=Splitting(1.0, require_words=False), batching=BATCHING))
    batch = train_batches(data, 1)[0]
    assert (batch.prompt_text, batch.continuation_text) == ([""], [""])
    data = ready(TranscribedSpeechDataModule(manifest, batching=BATCHING))
    assert train_batches(data, 1)[0].prompt_text == ["w0 w1 w2 w3"]


def test_transcribed_items_are_whole_utterances(speech):
    data = ready(TranscribedSpeechDataModule(str(speech([2.0, 1.5])), batching=BATCHING))
    batch = train_batches(data, 1)[0]
    assert batch.prompt_num_samples.tolist() == [24000]
    assert batch.continuation.shape == (1, 0)
    assert batch.continuation_num_samples.tolist() == [0]


@pytest.mark.parametrize("audio_format", ["FLAC", "WAV"])
def test_later_broken_file_skipped_and_counted(speech, tmp_path, caplog, audio_format):
    manifest = speech([2.0] * 6)
    samples, rate = soundfile.read(tmp_path / "u2.flac")
    soundfile.write(tmp_path / "u2.flac", samples, rate, format=audio_format)
    data = ready(TranscribedSpeechDataModule(str(manifest), batching=BATCHING, max_broken_files=2))
    os.truncate(tmp_path / "u2.flac", 9000)  # the header stays sound
    batches = train_batches(data, 3)
    for batch in batches:
        assert batch.ids.count("u2") == 0
        assert len(batch.ids) == 4
        data.on_before_batch_transfer(batch, 0)
    assert list(data.broken) == ["u2"]
    assert caplog.text.count("left out a broken utterance") == 1
    assert str(tmp_path / "u2.flac") in caplog.text
    for name in ("u3", "u4"):
        (tmp_path / f"{name}.flac").unlink()
    with pytest.raises(TrainingError, match="3 audio files are unreadable, more than max_broken_files=2"):
        data.on_before_batch_transfer(train_batches(data, 1)[0], 0)


def test_batch_of_broken_files_is_empty(speech, tmp_path):
    data = ready(TranscribedSpeechDataModule(str(speech([2.0, 2.0])), batching=BATCHING))
    (tmp_path / "u1.flac").unlink()
    batch = train_batches(data, 1)[0]
    assert (batch.ids, batch.prompt.shape, len(batch.skipped)) == ([], (0, 0), 1)


def test_stereo_averaged(speech, tmp_path):
    manifest = speech([2.0, 2.0])
    samples = np.stack([np.tile([0.5, -0.5], 16000), np.zeros(32000)], 1)
    soundfile.write(tmp_path / "u1.flac", samples, 16000)
    batch = train_batches(ready(TranscribedSpeechDataModule(str(manifest), batching=BATCHING)), 1)[0]
    assert batch.prompt[0].unique().tolist() == pytest.approx([-0.25, 0.25], abs=1e-4)


def test_validation_batches_contain_every_item_once(speech):
    data = ready(
        TranscribedSpeechDataModule(
            str(speech([2.0, 3.0, 1.0, 2.5, 1.5, 2.0])), val_split="train", batching=Batching(6.0)
        )
    )
    first, again = (list(data.val_dataloader()[0]) for _ in range(2))
    assert sorted(name for batch in first for name in batch.ids) == ["u1", "u2", "u3", "u4", "u5"]
    assert all(batch.prompt.numel() <= 6.0 * 16000 for batch in first)
    assert [batch.ids for batch in again] == [batch.ids for batch in first]
    assert all(torch.equal(a.prompt, b.prompt) for a, b in zip(first, again, strict=True))


def test_ranks_have_equal_numbers_of_validation_batches(speech, monkeypatch):
    """Three batches for two ranks: the second rank gets an empty one at the end, and nothing is lost or repeated."""
    batching = Batching(batch_seconds=20.0, max_items=1)
    data = ready(TranscribedSpeechDataModule(str(speech([2.0] * 4)), val_split="train", batching=batching))
    monkeypatch.setattr(streaming, "world", lambda: 2)
    seen = []
    for number in range(2):
        monkeypatch.setattr(streaming, "rank", lambda number=number: number)
        seen.append([batch.ids for batch in data.val_dataloader()[0]])
    assert seen == [[["u1"], ["u3"]], [["u2"], []]]


def test_validation_prompts_fixed(speech):
    splitting = Splitting((0.5, 2.0), min_continuation_seconds=0.5)
    manifest = str(speech([3.0] * 6))
    data = ready(ContinuationDataModule(manifest, val_split="train", splitting=splitting, batching=BATCHING))
    lengths = {
        name: n
        for batch in data.val_dataloader()[0]
        for name, n in zip(batch.ids, batch.prompt_num_samples.tolist(), strict=True)
    }
    assert len(set(lengths.values())) == 5
    panel = {
        name: n for batch in data.panel(5) for name, n in zip(batch.ids, batch.prompt_num_samples.tolist(), strict=True)
    }
    assert panel == lengths


def questions(corpus, **changes):
    settings = {"val_splits": ["unseen_speakers", "unseen_facts"], "batching": BATCHING} | changes
    return SpokenQADataModule(str(corpus / "questions.jsonl"), **settings)


def test_spoken_qa_items(corpus):
    data = ready(questions(corpus), 16000, 8000)
    batch = train_batches(data, 1)[0]
    lines = {line["id"]: line for line in map(json.loads, (corpus / "questions.jsonl").read_text().splitlines())}
    for row, name in enumerate(batch.ids):
        line = lines[name]
        assert line["split"] == "train"
        assert (batch.prompt_text[row], batch.continuation_text[row]) == (line["text"], line["answer_text"])
        assert [list(word) for word in batch.continuation_words[row]] == line["answer_words"]
        assert batch.answers[row] == line["answers"]
        assert int(batch.prompt_num_samples[row]) == round(line["duration"] * 16000)
        assert int(batch.continuation_num_samples[row]) == -(-round(line["answer_duration"] * 16000) // 2)
    for training_batch in train_batches(data, 12):
        seconds = [lines[name]["duration"] + lines[name]["answer_duration"] for name in training_batch.ids]
        assert max(seconds) * len(seconds) <= 20.0


def test_panel_takes_equal_items_of_splits(corpus):
    panel = ready(questions(corpus)).panel(8)
    names = [name for batch in panel for name in batch.ids]
    assert len(set(names)) == 8
    assert sum("unseen_speakers" in name for name in names) == sum("unseen_facts" in name for name in names) == 4
    assert [batch.ids for batch in ready(questions(corpus)).panel(8)] == [batch.ids for batch in panel]
    assert sum(len(batch.ids) for batch in ready(questions(corpus, val_splits=["unseen_speakers"])).panel(10_000)) > 30


def test_questions_without_spoken_answer_only_validated(corpus, tmp_path):
    lines = [json.loads(line) for line in (corpus / "questions.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        for key in ("audio_filepath", "answer_audio_filepath"):
            line[key] = str(corpus / line[key])
        if number % 2:
            del line["answer_audio_filepath"], line["answer_text"], line["answer_duration"], line["answer_words"]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = ready(
        SpokenQADataModule(str(tmp_path / "questions.jsonl"), val_splits=["unseen_speakers"], batching=BATCHING)
    )
    trained = [line for line in lines if line["split"] == "train"]
    spoken = sum("answer_audio_filepath" in line for line in trained)
    assert data.report["train: used"] == spoken
    assert data.report["train: without a spoken answer and its text, so not for training"] == len(trained) - spoken
    rows = [(batch, row) for batch in data.val_dataloader()[0] for row in range(len(batch.ids))]
    silent = [(batch, row) for batch, row in rows if batch.continuation_num_samples[row] == 0]
    assert 0 < len(silent) < len(rows)
    assert all(batch.continuation_text[row] == "" and batch.answers[row] for batch, row in silent)


def test_continuation_data_mixed_in(corpus):
    also = ContinuationData(str(corpus / "carriers.jsonl"), splitting=Splitting((0.4, 1.0), True, 0.4))
    data = ready(questions(corpus, continuation_data=also))
    assert len(data.train_cuts) == data.report["train: used"]
    rows = [(batch, row) for batch in train_batches(data, 20) for row in range(len(batch.ids))]
    plain = [(batch, row) for batch, row in rows if batch.ids[row].startswith("carrier")]
    assert 0 < len(plain) < len(rows)
    assert all(batch.answers[row] == [] and batch.continuation_text[row] for batch, row in plain)


def test_corpus_written_before_first_use(tiny, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "spectron.datamodules.synthetic.corpus.write_corpus",
        lambda folder, settings, progress: asked.append((folder, settings)),
    )
    new = tmp_path / "new"
    own = SyntheticCorpus(str(new), tiny)
    SpokenQADataModule(f"{new}/questions.jsonl", val_splits=["train"], corpus=own).prepare_data()
    assert asked == [(new, tiny)]
    mixed = TextMix(f"{new}/text/train.txt", val=f"{new}/text/gone.txt")
    held_out = [Part("/gone/held_out.jsonl")]
    missing = {
        f"{new}/question.jsonl": SpokenQADataModule(f"{new}/question.jsonl", val_splits=["train"], corpus=own),
        f"{new}/text/gone.txt": SpokenQADataModule(
            f"{new}/questions.jsonl", val_splits=["train"], corpus=own, text=mixed
        ),
        "/gone/held_out.jsonl": RecordingsDataModule([Part(f"{new}/carriers.jsonl")], [], held_out, corpus=own),
        "/gone/val.txt": TextDataModule(f"{new}/text/train.txt", "/gone/val.txt", corpus=own),
    }
    for file, data in missing.items():
        with pytest.raises(DataError, match=f"^there is no file {file}: "):
            data.prepare_data()
    assert len(asked) == 1, "what the corpus will not hold is missed before it is spoken"


def test_package_exports_data_modules():
    for name in datamodules.__all__:
        assert getattr(datamodules, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        datamodules.Nothing  # noqa: B018


@pytest.mark.skipif("SPECTRON_DATA" not in os.environ, reason="real recordings: SPECTRON_DATA names no folder")
def test_real_recordings():
    manifest = str(Path(os.environ["SPECTRON_DATA"]) / "librispeech_mini" / "manifest.jsonl")
    data = ready(
        ContinuationDataModule(manifest, splitting=Splitting(3.0, word_boundary=True), batching=Batching(100.0)),
        16000,
        22050,
    )
    assert data.report == {"dev: used": 28, "train: used": 308}
    lines = {line["id"]: line for line in map(json.loads, Path(manifest).read_text().splitlines())}
    batch = train_batches(data, 1)[0]
    for row, name in enumerate(batch.ids):
        assert f"{batch.prompt_text[row]} {batch.continuation_text[row]}" == lines[name]["text"].lower()
        at = int(batch.prompt_num_samples[row]) / 16000
        assert abs(at - 3.0) < 1.0
        assert not any(begin + 0.001 < at < end - 0.001 for _, begin, end in lines[name]["words"])
        assert int(batch.continuation_num_samples[row]) == pytest.approx(
            (lines[name]["duration"] - at) * 22050, abs=200
        )
