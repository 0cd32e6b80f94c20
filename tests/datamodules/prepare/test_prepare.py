"""Prepared manifests of folders."""

import inspect
import json
import re

import numpy as np
import pytest
import soundfile
from places import ROOT

from spectron.audio.resampling import SampleRates
from spectron.cli.parser import main, parse
from spectron.datamodules import prepare
from spectron.datamodules.manifest import read_manifest, words_of
from spectron.datamodules.prepare import (
    prepare_folder,
    prepare_librispeech,
    prepare_llama_questions,
    prepare_questions,
    prepare_synthetic,
    questions,
)
from spectron.datamodules.spoken_qa import SpokenQADataModule
from spectron.datamodules.synthetic.voices import UNSEEN_SPEAKERS
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
    (root / "dev-clean/84/121/84-121.alignment.txt").write_text(
        '84-121-0000 ",GO,DO,,YOU,HEAR," "0.3,0.6,0.9,1.0,1.2,1.7,2.0"\n'
    )
    return root


def test_prepare_librispeech(librispeech, tmp_path):
    output = tmp_path / "manifests" / "librispeech.jsonl"
    prepared = prepare_librispeech(librispeech.parent, output)
    assert (prepared.manifests, prepared.items, prepared.splits) == ([output], 3, {"dev-clean": 2, "train-clean-5": 1})
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


def test_prepare_folder(tmp_path):
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
    assert prepared.items == 10
    assert prepared.splits == {"train": 8, "dev": 2}
    reasons = {name.rpartition("/")[2]: why for name, why in prepared.skipped.items()}
    assert reasons["alone.flac"] == "there is no text file alone.txt next to it"
    assert reasons["wordless.flac"] == "its text file is empty"
    assert "as audio" in reasons["broken.wav"]
    line = next(json.loads(line) for line in output.read_text().splitlines() if "u3" in line)
    assert (line["id"], line["speaker"], line["text"], line["sample_rate"]) == ("s1-u3", "s1", "Hello there 3", 22050)
    assert len(read_manifest(output)) == 10
    before = output.read_bytes()
    prepare_folder(folder, output, dev_share=0.2)
    assert output.read_bytes() == before
    with pytest.raises(DataError, match="contains no audio file with a text file"):
        prepare_folder(tmp_path / "out", output)


def test_repeated_recording_names_refused(tmp_path):
    for name in ("a/b-c.wav", "a-b/c.wav"):
        noise(tmp_path / "mine" / name)
        (tmp_path / "mine" / name).with_suffix(".txt").write_text("moo")
    with pytest.raises(DataError, match=r"several recordings would have the id 'a-b-c' \(1 repeated ids\): rename"):
        prepare_folder(tmp_path / "mine", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_prepare_synthetic(corpus, tiny):
    prepared = prepare_synthetic(corpus, tiny)
    assert prepared.items == sum(len(manifest.read_text().splitlines()) for manifest in prepared.manifests)
    assert prepared.splits["unseen_facts"] > 0
    assert prepared.hours > 0


@pytest.fixture
def llama_questions(tmp_path):
    """The published layout: a table with Windows line ends, leading spaces in cells, and titles in quotation marks."""
    folder = tmp_path / "llama_questions"
    for index in range(3):
        noise(folder / "audio" / f"{index + 1}.wav", 1.0 + index)
    rows = [
        "What is the capital of France?\tParis\t1.wav",
        ' Who wrote "The Raven"? \t Edgar Allan Poe\t 2.wav',
        "What is gold?\tAu\t4.wav",
    ]
    (folder / "questions.tsv").write_bytes("\r\n".join(["Questions\tAnswer\tWav Filename", *rows, ""]).encode())
    return folder


def lines_of(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_prepare_llama_questions(llama_questions, tmp_path, capsys):
    output = tmp_path / "out" / "llama.jsonl"
    assert main(["prepare", "llama_questions", str(llama_questions), str(output)]) == 0
    printed = capsys.readouterr().out
    assert "2 utterances, 0.00 hours (test 2)" in printed
    assert f"Left out: 4: no recording 4.wav in {llama_questions}" in printed
    first, second = lines_of(output)
    assert (first["id"], first["text"], first["answers"], first["duration"]) == (
        "1",
        "What is the capital of France?",
        ["Paris"],
        1.0,
    )
    assert (second["text"], second["answers"]) == ('Who wrote "The Raven"?', ["Edgar Allan Poe"])
    (output.parent / first["audio_filepath"]).resolve(strict=True)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("What?\tParis", "questions.tsv:2 should hold a question, an answer and the name of a wav"),
        ("What?\t \t1.wav", "questions.tsv:2 should hold a question, an answer"),
        ("What?\tParis\t1.wav\nWho?\tPoe\t1.wav", "questions.tsv:3 names 1.wav, which an earlier line has"),
        ("What?\tParis\t9.wav", "none of the 1 questions has a recording, the first because: no recording 9.wav"),
    ],
)
def test_broken_question_table_refused_with_line(llama_questions, tmp_path, line, error):
    (llama_questions / "questions.tsv").write_text(f"Questions\tAnswer\tWav Filename\n{line}\n")
    with pytest.raises(DataError, match=error):
        prepare_llama_questions(llama_questions, tmp_path / "out.jsonl")


def test_test_set_without_training_split_validates(llama_questions, tmp_path):
    output = tmp_path / "llama.jsonl"
    prepare_llama_questions(llama_questions, output)
    data = SpokenQADataModule(manifest=str(output), val_splits=["test"])
    data.prepare_data()
    data.setup("validate")
    data.rates = SampleRates(16000, 16000)
    (batch,) = data.panel(2)
    assert batch.prompt_num_samples.tolist() == [16000, 32000]
    assert batch.answers == [["Paris"], ["Edgar Allan Poe"]]
    assert batch.continuation_num_samples.tolist() == [0, 0]
    assert batch.splits == ["test", "test"]


WEB = [
    {
        "qId": "w1",
        "qText": "what does  jamaican people speak?",
        "answers": ["Jamaican Creole", "Jamaican  English", "Jamaican Creole"],
    },
    {"qId": "w2", "qText": "where was Beyonc\u00e9 in 1999?", "answers": ["Houston"]},
]
TRIVIA = {
    "Data": [
        {
            "QuestionId": "tc_1",
            "Question": "Who wrote \u201cEmma\u201d?",
            "Answer": {"Value": "Austen", "Aliases": ["Jane Austen", "Austen"]},
        }
    ]
}


def in_lines(records):
    return "\n".join(map(json.dumps, records))


@pytest.mark.parametrize(
    ("content", "answers"),
    [
        (json.dumps(WEB), {"w1": ["Jamaican Creole", "Jamaican English"], "w2": ["Houston"]}),
        (
            in_lines(
                [{"id": "a", "question": "who?", "answers": ["x"], "split": "test"}, {"id": "b", "split": "train"}]
            ),
            {"a": ["x"]},
        ),
        (in_lines(WEB[1:]), {"w2": ["Houston"]}),
        (json.dumps(TRIVIA), {"tc_1": ["Austen", "Jane Austen"]}),
    ],
    ids=["webquestions", "lines", "one line", "triviaqa"],
)
def test_prepare_questions_speaks(tmp_path, content, answers):
    (tmp_path / "questions.json").write_text(content)
    output = tmp_path / "spoken.jsonl"
    prepared = prepare_questions(tmp_path / "questions.json", output, workers=0)
    assert prepared.splits == {"test": len(answers)}
    entries = lines_of(output)
    assert {entry["id"]: entry["answers"] for entry in entries} == answers
    assert all(
        entry["speaker"] in {voice.name for voice in UNSEEN_SPEAKERS} and entry["duration"] > 0.3 for entry in entries
    )
    assert len(read_manifest(output)) == len(answers)


def test_prepare_questions_speaks_only_new(tmp_path, monkeypatch):
    file, output = tmp_path / "questions.json", tmp_path / "spoken.jsonl"
    spoken = []

    def speak(text, *how):
        spoken.append(text)
        return kept(text, *how)

    kept = questions.speak
    monkeypatch.setattr(questions, "speak", speak)
    file.write_text(json.dumps(WEB))
    prepare_questions(file, output, limit=1, workers=0)
    assert [entry["id"] for entry in lines_of(output)] == ["w1"]
    prepare_questions(file, output, workers=0)
    before = output.read_bytes()
    prepare_questions(file, output, workers=0)
    assert output.read_bytes() == before
    assert spoken == ["what does jamaican people speak?", WEB[1]["qText"]]
    file.write_text(json.dumps([WEB[0] | {"qText": "what do they speak?"}, WEB[1] | {"qText": "?"}]))
    prepared = prepare_questions(file, output, workers=0)
    assert spoken[2:] == ["what do they speak?", "?"]
    assert (prepared.items, list(prepared.skipped)) == (1, ["w2"])
    assert "gave no audio" in prepared.skipped["w2"]


def test_prepare_questions_with_recordings(tmp_path):
    (tmp_path / "questions.json").write_text(json.dumps(WEB))
    noise(tmp_path / "tts" / "w2.FLAC", 2.0, 24000)
    noise(tmp_path / "tts" / "w2.mp3", 1.0, 24000)  # of two, the uncompressed one
    prepared = prepare_questions(
        tmp_path / "questions.json", tmp_path / "spoken.jsonl", split="dev", speech=tmp_path / "tts"
    )
    assert prepared.splits == {"dev": 1}
    assert prepared.skipped == {"w1": f"no recording w1.wav, .flac, ... in {tmp_path / 'tts'}"}
    (entry,) = lines_of(tmp_path / "spoken.jsonl")
    assert (entry["audio_filepath"], entry["duration"], entry["sample_rate"]) == ("tts/w2.FLAC", 2.0, 24000)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            '{"data": [], "version": 1}',
            "begins with an object with the keys data, version, which is none of the formats known",
        ),
        ("[1, 2]", "begins with list of something else"),
        ("what?", "is not JSON"),
        ('{"id": "a", "question": "who?", "answers": ["x"]}\n{"id"', "json:2 is not JSON"),
        ('[{"qId": "../a", "qText": "who?", "answers": ["x"]}]', "question 1 has '../a' for its id"),
        ('[{"qId": "a", "qText": " ", "answers": ["x"]}]', "question 1 \\(a\\) has ' ' for its text"),
        ('[{"qId": "a", "qText": "who?", "answers": []}]', "question 1 \\(a\\) has no answer"),
        (
            '{"Data": [{"QuestionId": "q", "Question": "who?"}]}',
            "question 1 \\(q\\) has no list of answers: take a part of the data",
        ),
        (
            '{"Data": [{"QuestionId": "q", "Question": "who?", "Answer": {"Value": "y", "Aliases": "yy"}}]}',
            "\\(q\\) has no list of answers",
        ),
        (json.dumps([WEB[0], WEB[0]]), "uses the id 'w1' more than once"),
    ],
)
def test_invalid_question_files_refused(tmp_path, content, error):
    (tmp_path / "questions.json").write_text(content)
    with pytest.raises(DataError, match=error):
        prepare_questions(tmp_path / "questions.json", tmp_path / "out.jsonl", workers=0)


def test_documented_commands_match_arguments():
    page = (ROOT / "docs" / "evaluation_data.md").read_text()
    commands = re.findall(r"`spectron (prepare [^`]+?\.jsonl)`", page)
    assert len(commands) == 5
    for command in commands:
        options = vars(parse(command.split()))
        arguments = inspect.signature(getattr(prepare, f"prepare_{options['source']}")).parameters
        assert set(options) - {"verb", "source", "debug"} <= set(arguments)
        assert options["output"].parts[0] == "$SPECTRON_DATA", "where the suites look"
