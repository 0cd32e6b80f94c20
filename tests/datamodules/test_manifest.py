"""Manifests, valid and invalid."""

import json

import pytest

from spectron.datamodules.manifest import choose, fingerprint, read_manifest, words_of
from spectron.errors import DataError


def edit(manifest, line, change):
    lines = manifest.read_text().splitlines()
    lines[line] = change(json.loads(lines[line]))
    manifest.write_text("\n".join(lines) + "\n")


def test_manifest_line_becomes_cut(speech):
    manifest = speech([1.5, 2.0], gender="F")
    cut = read_manifest(manifest)[1]
    assert (cut.id, cut.duration, cut.supervisions[0].speaker, cut.supervisions[0].gender) == ("u1", 2.0, "s1", "F")
    assert cut.supervisions[0].text == "w0 w1 w2 w3"
    assert cut.custom["where"] == f"{manifest}:2"
    assert [tuple(word) for word in words_of(cut)[:2]] == [("w0", 0.0, 0.4), ("w1", 0.5, 0.9)]
    assert read_manifest(manifest, lower_case=False)[1].supervisions[0].text == "W0 W1 W2 W3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: "{not json", r"manifest\.jsonl:2 is not JSON"),
        (lambda line: "[1]", r"manifest\.jsonl:2 is no JSON object"),
        (lambda line: json.dumps({k: v for k, v in line.items() if k != "text"}), r"jsonl:2 has no field 'text'"),
        (lambda line: json.dumps(line | {"id": 3}), "has 3 as 'id'"),
        (lambda line: json.dumps(line | {"words": [["a", 1]]}), "word times that are not"),
        (lambda line: json.dumps(line | {"answer_words": "paris"}), "word times that are not"),
        (lambda line: json.dumps(line | {"answers": "paris"}), "list of texts"),
        (lambda line: json.dumps(line | {"id": "u0"}), "'u0' more than once"),
        (
            lambda line: json.dumps(line | {"audio_filepath": "gone.flac"}),
            r"jsonl:2 names the audio file .*gone\.flac, which is missing",
        ),
        (
            lambda line: json.dumps(line | {"duration": "2.0"}),
            "has '2.0' as 'duration', which should be a number of seconds",
        ),
        (lambda line: json.dumps(line | {"duration": 9.0}), r"states 9\.0 s for .*, but the file has 2\.00 s"),
    ],
)
def test_invalid_line_refused_with_place(speech, change, message):
    manifest = speech([1.5, 2.0, 2.0])
    edit(manifest, 1, change)
    with pytest.raises(DataError, match=message):
        read_manifest(manifest)


def test_text_with_line_separator_kept(speech):
    manifest = speech([1.5, 2.0])
    edit(manifest, 1, lambda line: json.dumps(line | {"text": "one\u2028two"}, ensure_ascii=False))
    assert read_manifest(manifest)[1].supervisions[0].text == "one two"


def test_broken_and_missing_files_refused(speech, tmp_path):
    manifest = speech([1.5, 2.0])
    (tmp_path / "u1.flac").write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"jsonl:2 names .*u1\.flac, which is no readable audio"):
        read_manifest(manifest)
    (tmp_path / "u0.flac").unlink()
    with pytest.raises(
        DataError, match=r"(?s)jsonl:1 names .*u0\.flac, which is missing.*; likewise\n.*jsonl:2 names .*u1\.flac"
    ):
        read_manifest(manifest)
    for read in (read_manifest, fingerprint):
        with pytest.raises(DataError, match="SPECTRON_DATA"):
            read(tmp_path / "none.jsonl")


def test_choose_without_usable_utterance_explains(speech):
    cuts = read_manifest(speech([1.0, 2.0, 3.0]))
    kept, dropped = choose(cuts, "train", lambda cut: "too long" if cut.duration > 2.5 else None, "m")
    assert [cut.id for cut in kept] == ["u1"]
    assert dropped == {"too long": 1}
    with pytest.raises(
        DataError, match=r"no utterance of split 'train' in m is usable \(2 bad\). It contains: dev 1, train 2"
    ):
        choose(cuts, "train", lambda cut: "bad", "m")
    with pytest.raises(DataError, match="none of its lines has this split"):
        choose(cuts, "test", lambda cut: None, "m")
