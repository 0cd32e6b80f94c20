"""Pairs of a right and a wrong recording: published layouts and batches."""

import json

import numpy as np
import pytest
import soundfile
import torch

from spectron.audio.resampling import SampleRates
from spectron.datamodules import PairsDataModule
from spectron.datamodules.pairs import read_pairs
from spectron.datamodules.prepare import prepare_pairs
from spectron.errors import DataError

RATE = 16000


def sound(path, seconds, seed=0, beginning=None):
    """Noise of its own after a beginning, if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(path, samples if beginning is None else np.concatenate([beginning, samples]), RATE)


def lines_of(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def zerospeech(folder, header, rows):
    """A gold.csv, and a recording of each line."""
    folder.mkdir(parents=True)
    (folder / "gold.csv").write_text("\n".join([header, *rows]) + "\n")
    for seed, row in enumerate(rows):
        sound(folder / f"{row.split(',')[header.split(',').index('filename')]}.wav", 0.5 + 0.1 * seed, seed)
    return folder


@pytest.fixture
def salmon(tmp_path):
    """Two tasks; the two recordings of the first one's first sample share half a second."""
    folder, beginning = tmp_path / "salmon", 0.1 * np.random.default_rng(9).standard_normal(RATE // 2)
    for number in (0, 1, 10):
        for which in (0, 1):
            shared = beginning if number == 0 else None
            sound(
                folder / "speaker_consistency" / f"sample_{number}_{which}.wav",
                1.0 + number / 10,
                2 * number + which,
                shared,
            )
    for which in (0, 1):
        sound(folder / "bg_alignment" / f"sample_0_{which}.wav", 3.0, 50 + which)
    return folder


def test_swuggy(tmp_path):
    rows = [
        "aA,7,A,12,brick,b r i k,4,1",
        "bB,7,A,,blick,b l i k,4,0",
        "cC,7,C,12,brick,b r i k,4,1",
        "dD,7,C,,blick,b l i k,4,0",
        "eE,8,A,0,zyzzyva,z i,2,1",
        "fF,8,A,,,z o,2,0",
        "gG,9,A,3,cat,k a t,3,1",
    ]
    folder = zerospeech(tmp_path / "lexical" / "dev", "filename,id,voice,frequency,word,phones,length,correct", rows)
    prepared = prepare_pairs(folder, tmp_path / "pairs.jsonl")
    assert (prepared.items, prepared.unit, prepared.splits) == (
        3,
        "pairs",
        {"in_vocabulary": 2, "out_of_vocabulary": 1},
    )
    assert prepared.skipped == {str(folder / "gG.wav"): "the other recording of its pair is missing"}
    first, _, third = lines_of(tmp_path / "pairs.jsonl")
    assert first == {
        "id": "7-A",
        "group": "in_vocabulary",
        "positive_audio_filepath": "lexical/dev/aA.wav",
        "positive_duration": 0.5,
        "positive_text": "brick",
        "negative_audio_filepath": "lexical/dev/bB.wav",
        "negative_duration": 0.6,
        "negative_text": "blick",
        "context_seconds": 0.0,
    }
    assert (third["positive_text"], third["negative_text"]) == ("zyzzyva", None)


def test_sblimp(tmp_path):
    rows = [
        '1,xX,A,agreement,plural,"He runs, now.",1',
        "1,yY,A,agreement,plural,He run.,0",
        "1,zZ,A,binding,self,She saw herself.,1",
    ]
    folder = zerospeech(
        tmp_path / "dev", "id,filename,voice,type,subtype,transcription,correct", [*rows, "1,wW,A,binding,self,No.,0"]
    )
    prepared = prepare_pairs(folder, tmp_path / "pairs.jsonl")
    assert prepared.splits == {"agreement": 1, "binding": 1}
    first, second = lines_of(tmp_path / "pairs.jsonl")
    assert (first["id"], first["positive_text"], first["negative_text"]) == (
        "agreement-plural-1-A",
        "He runs, now.",
        "He run.",
    )
    assert second["negative_audio_filepath"] == "dev/wW.wav"


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ("id,filename,voice\n1,a,A\n", "gold.csv has no column correct"),
        (
            "id,filename,voice,correct\n1,a,A,maybe\n",
            r"gold.csv:2 should have id, filename, voice, correct, the last of them 0 or 1",
        ),
        ("id,filename,voice,correct\n1,a,A\n", "gold.csv:2 should have"),
        (
            "id,filename,voice,correct\n1,a,A,1\n",
            "none of the 1 recordings and pairs in .* the first because: named in gold.csv, but missing",
        ),
        ("id,filename,voice,frequency,correct\n1,here,A,often,1\n", "gold.csv:2 has 'often' as 'frequency'"),
    ],
)
def test_broken_gold_table_refused(tmp_path, table, error):
    (tmp_path / "gold.csv").write_text(table)
    sound(tmp_path / "here.wav", 0.5)
    with pytest.raises(DataError, match=error):
        prepare_pairs(tmp_path, tmp_path / "pairs.jsonl")


def test_storycloze(tmp_path):
    folder = tmp_path / "tSC"
    for number, name in enumerate(["1_a-b_correct", "2_a-b_incorrect", "3_c_correct", "4_c_incorrect", "5_d_correct"]):
        sound(folder / f"{name}.wav", 1.0, number)
    prepared = prepare_pairs(folder, tmp_path / "pairs.jsonl")
    assert prepared.splits == {"tSC": 2}
    assert list(prepared.skipped) == [str(folder / "5_d_correct.wav")]
    first, second = lines_of(tmp_path / "pairs.jsonl")
    assert (first["id"], first["positive_audio_filepath"], first["negative_audio_filepath"]) == (
        "tSC-a-b",
        "tSC/1_a-b_correct.wav",
        "tSC/2_a-b_incorrect.wav",
    )
    assert (second["id"], second["positive_text"], second["context_seconds"]) == ("tSC-c", None, 0.0)


def test_salmon(salmon, tmp_path):
    prepared = prepare_pairs(salmon, tmp_path / "pairs.jsonl")
    assert prepared.splits == {"bg_alignment": 1, "speaker_consistency": 3}
    lines = {line["id"]: line for line in lines_of(tmp_path / "pairs.jsonl")}
    assert list(lines) == ["bg_alignment-0", "speaker_consistency-0", "speaker_consistency-1", "speaker_consistency-10"]
    assert lines["speaker_consistency-10"]["positive_audio_filepath"].endswith("sample_10_0.wav")
    assert [line["context_seconds"] for line in lines.values()] == [0.0, 0.5, 0.0, 0.0]


def test_indistinguishable_pair_left_out(salmon, tmp_path):
    sound(salmon / "bg_alignment" / "sample_0_1.wav", 3.0, 50)
    prepared = prepare_pairs(salmon, tmp_path / "pairs.jsonl")
    assert prepared.skipped == {
        "bg_alignment-0": "one recording is the beginning of the other, so there is no difference to score"
    }
    with pytest.raises(DataError, match="contains no pairs: no gold"):
        prepare_pairs(tmp_path / "nowhere", tmp_path / "pairs.jsonl")


def test_pair_batches_of_both_sides(salmon, tmp_path):
    manifest = tmp_path / "pairs.jsonl"
    prepare_pairs(salmon, manifest)
    data = PairsDataModule(str(manifest), batch_size=2)
    data.setup("validate")
    assert list(data.fingerprint()) == [str(manifest)]
    ids = ["speaker_consistency-1", "speaker_consistency-0", "speaker_consistency-10", "bg_alignment-0"]
    assert data.item_ids() == ids
    assert data.item_ids(2) == ids[::2]
    data.rates = SampleRates(8000, RATE)
    batches = data.item_batches()
    assert [right.ids for right, _ in batches] == [ids[:2], ids[2:]]
    right, wrong = batches[0]
    assert right.ids == wrong.ids
    assert right.splits == ["speaker_consistency"] * 2
    assert right.prompt_num_samples.tolist() == [0, 4000]  # the half second that both share, at the rate of prompts
    assert torch.equal(right.prompt, wrong.prompt)
    assert right.continuation_num_samples.tolist() == [17600, 16000]
    expected, _ = soundfile.read(salmon / "speaker_consistency" / "sample_0_1.wav", dtype="float32")
    assert torch.equal(wrong.continuation[1, :16000], torch.from_numpy(expected[8000:]))
    chosen = PairsDataModule(str(manifest), groups=["bg_alignment"])
    chosen.setup("validate")
    assert chosen.item_ids() == ["bg_alignment-0"]


def test_broken_pair_left_out_of_both_sides(salmon, tmp_path):
    manifest = tmp_path / "pairs.jsonl"
    prepare_pairs(salmon, manifest)
    data = PairsDataModule(str(manifest), groups=["speaker_consistency"])
    data.setup("validate")
    data.rates = SampleRates(RATE, RATE)
    (salmon / "speaker_consistency" / "sample_1_1.wav").unlink()
    ((right, wrong),) = data.item_batches()
    assert right.ids == wrong.ids == ["speaker_consistency-0", "speaker_consistency-10"]
    assert right.skipped[0].startswith("speaker_consistency-1: no audio file at")


@pytest.mark.parametrize(
    ("changed", "settings", "error"),
    [
        (
            {"context_seconds": 1.5},
            {},
            r"pairs.jsonl:2 has 1.5 as 'context_seconds', which should be from 0 to below 1.50",
        ),
        ({"context_seconds": None}, {}, "has None as 'context_seconds', which should be a number"),
        ({"negative_text": 3}, {}, "has 3 as 'negative_text', which should be text"),
        (
            {"negative_audio_filepath": "gone.wav"},
            {},
            "pairs.jsonl:2 names the audio file .*gone.wav, which is missing",
        ),
        ({}, {"groups": ["speaker"]}, "has no group speaker. It has: bg_alignment, speaker_consistency"),
        ({}, {"max_seconds": 0.5}, "no pair of .* is left of 4: raise max_seconds=0.5"),
    ],
)
def test_broken_pair_manifest_refused(salmon, tmp_path, changed, settings, error):
    manifest = tmp_path / "pairs.jsonl"
    prepare_pairs(salmon, manifest)
    lines = lines_of(manifest)
    lines[1] |= changed
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=error):
        PairsDataModule(str(manifest), **settings).setup("validate")


def test_pair_texts_lower_case_by_default(tmp_path):
    header, rows = "id,filename,voice,transcription,correct", ["1,xX,A,He  runs.,1", "1,yY,A,He run.,0"]
    prepare_pairs(zerospeech(tmp_path / "dev", header, rows), tmp_path / "pairs.jsonl")
    assert [pair.texts for pair in read_pairs(tmp_path / "pairs.jsonl")] == [("he runs.", "he run.")]
    assert [pair.texts for pair in read_pairs(tmp_path / "pairs.jsonl", lower_case=False)] == [("He runs.", "He run.")]
