"""Preparation of folders with files that are odd, broken or of other formats: what is left out is named."""

import json
import os
import sys

import numpy as np
import pytest
from audio_files import encoded, mp3_without_info, noise, streamed_flac

from spectron.cli.parser import main
from spectron.datamodules.manifest import read_manifest, words_of
from spectron.datamodules.prepare import prepare_folder, prepare_librispeech, prepare_pairs, prepare_questions
from spectron.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes files into a folder, with a text next to each recording, and prepares it."""

    def prepare(files, texts=None):
        for name, content in files.items():
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if texts is None:
                path.with_suffix(".txt").write_text(f"text of {path.stem}")
        for name, text in (texts or {}).items():
            (tmp_path / "mine" / name).write_bytes(text)
        prepared = prepare_folder(tmp_path / "mine", tmp_path / "m.jsonl")
        cuts = {cut.id: cut for cut in read_manifest(tmp_path / "m.jsonl")}
        return cuts, {name.rpartition("/")[2]: reason for name, reason in prepared.skipped.items()}

    return prepare


def test_every_readable_format_is_prepared(folder):
    files = {
        "a.wav": encoded(noise(1.0), "WAV"),
        "b.aiff": encoded(noise(1.0), "AIFF"),
        "c.w64": encoded(noise(1.0), "W64"),
        "d.AIF": encoded(noise(1.0), "AIFF"),
        "e.au": encoded(noise(1.0), "AU"),
        "f.flac": streamed_flac(noise(1.0)),
        "g.mp3": mp3_without_info(noise(1.0)),
    }
    cuts, skipped = folder(files)
    assert sorted(cuts) == list("abcdefg")
    assert all(abs(cut.duration - 1.0) < 0.1 for cut in cuts.values())
    assert skipped == {}


def test_files_that_are_left_out_are_named(folder):
    cuts, skipped = folder(
        {
            "a.wav": encoded(noise(1.0), "WAV"),
            "a.TextGrid": b"",
            "b.m4a": b"\0\0\0\x20ftypM4A ",
            "c.wv": b"wvpk",
            "d.mp4": b"",
            "e.wav": encoded(noise(1.0), "WAV")[:8000],
            "f.wav": encoded(40000 * noise(1.0), "WAV", "FLOAT"),
            "notes.md": b"",
        },
        dict.fromkeys(("a.txt", "b.txt", "c.txt", "e.txt", "f.txt", "g.txt"), b"hello") | {"h.txt": b""},
    )
    assert list(cuts) == ["a"]
    assert sorted(skipped) == ["b.m4a", "c.wv", "d.mp4", "e.wav", "f.wav", "g.txt", "h.txt"]


def test_texts_are_read_in_any_spelling_or_named(folder):
    files = {f"{name}.wav": encoded(noise(1.0), "WAV") for name in "abcd"}
    texts = {
        "a.txt": "\ufeffone\r\ntwo\u2028three".encode(),
        "b.txt": "\xfcber".encode("latin-1"),
        "c.txt": "text".encode("utf-16"),
        "d.txt": b" \n",
    }
    cuts, skipped = folder(files, texts)
    assert cuts["a"].supervisions[0].text == "one two three"
    assert sorted(skipped) == ["b.wav", "c.wav", "d.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_name_that_no_manifest_can_hold_is_left_out(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for name in (b"good", b"caf\xe9", b"a\nb"):
        for suffix, content in ((b".wav", encoded(noise(1.0), "WAV")), (b".txt", b"hello")):
            with open(os.path.join(os.fsencode(tmp_path), b"mine", name + suffix), "wb") as file:
                file.write(content)
    assert main(["prepare", "folder", str(tmp_path / "mine"), str(tmp_path / "m.jsonl")]) == 0
    assert [cut.id for cut in read_manifest(tmp_path / "m.jsonl")] == ["good"]
    assert "2 left out" in capsys.readouterr().out


@pytest.fixture
def chapter(tmp_path):
    """A chapter of LibriSpeech with two recordings of two seconds."""
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "84" / "121"
    chapter.mkdir(parents=True)
    for number in range(2):
        (chapter / f"84-121-000{number}.flac").write_bytes(encoded(noise(2.0), "FLAC"))
    (chapter / "84-121.trans.txt").write_text("84-121-0000 GO DO\n84-121-0001 YOU HEAR\n")
    return chapter


def test_empty_line_of_transcript_is_skipped(chapter, tmp_path):
    (chapter / "84-121.trans.txt").write_bytes(
        b"\xef\xbb\xbf84-121-0000 GO  DO\r\n\r\n  \r\n84-121-0001 YOU HEAR\r\n\n"
    )
    prepared = prepare_librispeech(tmp_path, tmp_path / "m.jsonl")
    assert (prepared.items, prepared.skipped) == (2, {})
    assert [cut.supervisions[0].text for cut in read_manifest(tmp_path / "m.jsonl")] == ["go do", "you hear"]


def test_line_without_text_or_with_broken_audio_is_named(chapter, tmp_path):
    (chapter / "84-121.trans.txt").write_text("84-121-0000\n84-121-0001 YOU HEAR\n84-121-0002 LOST\n84-121-0003 GONE\n")
    (chapter / "84-121-0002.flac").write_bytes(b"fLaC")
    prepared = prepare_librispeech(tmp_path, tmp_path / "m.jsonl")
    assert prepared.items == 1
    assert sorted(prepared.skipped) == ["84-121-0000", "84-121-0002", "84-121-0003"]
    assert "84-121.trans.txt:1" in prepared.skipped["84-121-0000"]


@pytest.mark.parametrize("line", ['84-121-0000 ",GO,DO," "0.3,0.6,0.9"', "84-121-0000", '84-121-0000 "GO" "x"'])
def test_invalid_alignment_refused_with_place(chapter, tmp_path, line):
    (chapter / "84-121.alignment.txt").write_text(f'84-121-0001 "YOU,HEAR," "1.0,1.5,2.0"\n\n{line}\n')
    with pytest.raises(DataError, match=r"84-121\.alignment\.txt:3 ") as error:
        prepare_librispeech(tmp_path, tmp_path / "m.jsonl")
    assert error.value.file == chapter / "84-121.alignment.txt"


def test_alignment_beyond_recording_is_left_out(chapter, tmp_path):
    lines = ['84-121-0000 "GO,DO," "300,600,2000"', '84-121-0001 ",YOU,HEAR" "0.5,1.0,1.5"']
    (chapter / "84-121.alignment.txt").write_text("\n".join(lines))
    prepared = prepare_librispeech(tmp_path, tmp_path / "m.jsonl")
    assert "milliseconds" in prepared.skipped["84-121-0000"]
    (cut,) = read_manifest(tmp_path / "m.jsonl")
    assert [tuple(word) for word in words_of(cut)] == [("you", 0.5, 1.0), ("hear", 1.0, 1.5)]


def test_broken_transcript_names_its_line(chapter, tmp_path):
    (chapter / "84-121.trans.txt").write_bytes(b"84-121-0000 GO\n84-121-0001 \xff\n")
    with pytest.raises(DataError, match=r"84-121\.trans\.txt:2 "):
        prepare_librispeech(tmp_path, tmp_path / "m.jsonl")


def test_pairs_of_any_audio_format_are_found(tmp_path):
    one, other = noise(1.0), np.concatenate([noise(1.0)[:8000], noise(0.5, seed=1)])
    for name, samples in (("1_cat_correct.flac", one), ("1_cat_incorrect.flac", other), ("2_dog_correct.WAV", one)):
        (tmp_path / name).write_bytes(encoded(samples, "FLAC" if "flac" in name else "WAV", "PCM_16"))
    prepared = prepare_pairs(tmp_path, tmp_path / "pairs.jsonl")
    (line,) = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert line["context_seconds"] == 0.5
    assert [name.rpartition("/")[2] for name in prepared.skipped] == ["2_dog_correct.WAV"]


def test_answers_that_nothing_can_match_are_dropped(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(encoded(noise(1.0), "WAV"))
    questions = [{"id": name, "question": "who?", "answers": answers} for name, answers in (("a", [".", "x", "?!"]),)]
    (tmp_path / "q.json").write_text(json.dumps(questions))
    prepare_questions(tmp_path / "q.json", tmp_path / "m.jsonl", speech=tmp_path)
    assert read_manifest(tmp_path / "m.jsonl")[0].custom["answers"] == ["x"]
    (tmp_path / "q.json").write_text(json.dumps([questions[0] | {"answers": ["."]}]))
    with pytest.raises(DataError):
        prepare_questions(tmp_path / "q.json", tmp_path / "m.jsonl", speech=tmp_path)
