"""Manifests made from folders."""

import json

import numpy as np
import pytest
import soundfile

from datamodules.manifest import read_manifest, words_of
from datamodules.prepare import prepare_folder, prepare_librispeech, prepare_synthetic
from spectron.errors import DataError


def noise(path, seconds=1.0, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate)), rate)


@pytest.fixture
def librispeech(tmp_path):
    """Two parts laid out like LibriSpeech, one with LibriSpeech-Alignments beside the transcripts."""
    root = tmp_path / "corpora" / "LibriSpeech"
    for part, speaker, lines in (
        ("dev-clean", "84", ["84-121-0000 GO DO YOU HEAR", "84-121-0001 BUT IN LESS"]),
        ("train-clean-5", "19", ["19-198-0000 NORTHANGER ABBEY", "19-198-0001 LOST"]),
    ):
        chapter = root / part / speaker / lines[0].split("-")[1]
        for line in lines:
            if "LOST" not in line:
                noise(chapter / f"{line.split()[0]}.flac", 2.0)
        (chapter / f"{speaker}-{chapter.name}.trans.txt").write_text("\n".join(lines) + "\n")
    (root / "dev-clean/84/121/84-121.alignment.txt").write_text('84-121-0000 ",GO,DO,,YOU,HEAR," "0.3,0.6,0.9,1.0,1.2,1.7,2.0"\n')
    return root


def test_librispeech(librispeech, tmp_path):
    output = tmp_path / "manifests" / "librispeech.jsonl"
    prepared = prepare_librispeech(librispeech.parent, output)
    assert (prepared.manifests, prepared.utterances, prepared.splits) == ([output], 3, {"dev-clean": 2, "train-clean-5": 1})
    assert prepared.hours == pytest.approx(6 / 3600)
    assert prepared.skipped == {"19-198-0001": "has a transcript, but no audio file"}
    cuts = {cut.id: cut for cut in read_manifest(output)}
    assert [tuple(word) for word in words_of(cuts["84-121-0000"])] == [
        ("go", 0.3, pytest.approx(0.6)),
        ("do", 0.6, pytest.approx(0.9)),
        ("you", 1.0, pytest.approx(1.2)),
        ("hear", 1.2, pytest.approx(1.7)),
    ]
    assert words_of(cuts["84-121-0001"]) is None
    assert cuts["19-198-0000"].supervisions[0].text == "northanger abbey"
    assert cuts["19-198-0000"].supervisions[0].speaker == "19"
    with pytest.raises(DataError, match="no part of LibriSpeech"):
        prepare_librispeech(tmp_path / "nowhere", output)
    with pytest.raises(DataError, match="no part of LibriSpeech"):
        prepare_librispeech(tmp_path / "manifests", output)


def test_a_folder_of_audio_and_text(tmp_path):
    folder = tmp_path / "mine"
    for index in range(10):
        noise(folder / f"s{index % 2}" / f"u{index}.wav", 1.0, 22050)
        (folder / f"s{index % 2}" / f"u{index}.txt").write_text(f" Hello\nthere {index}\n")
    noise(folder / "alone.flac")
    noise(folder / "wordless.flac")
    (folder / "wordless.txt").write_text(" ")
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "broken.txt").write_text("hm")
    output = tmp_path / "out" / "manifest.jsonl"
    prepared = prepare_folder(folder, output, dev_share=0.2)
    assert prepared.utterances == 10
    assert prepared.splits == {"train": 8, "dev": 2}
    reasons = {name.rpartition("/")[2]: why for name, why in prepared.skipped.items()}
    assert reasons["alone.flac"] == "no text file alone.txt beside it"
    assert reasons["wordless.flac"] == "its text file is empty"
    assert reasons["broken.wav"].startswith("unreadable")
    line = next(json.loads(line) for line in output.read_text().splitlines() if "u3" in line)
    assert (line["id"], line["speaker"], line["text"], line["sample_rate"]) == ("s1-u3", "s1", "Hello there 3", 22050)
    assert len(read_manifest(output)) == 10
    before = output.read_bytes()
    prepare_folder(folder, output, dev_share=0.2)
    assert output.read_bytes() == before
    with pytest.raises(DataError, match="holds no audio file with a text file"):
        prepare_folder(tmp_path / "out", output)


def test_the_synthetic_corpus(corpus, tiny):
    prepared = prepare_synthetic(corpus, tiny)
    assert prepared.utterances == sum(len(manifest.read_text().splitlines()) for manifest in prepared.manifests)
    assert prepared.splits["heldout_facts"] > 0
    assert prepared.hours > 0
