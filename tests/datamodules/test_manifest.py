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
        (lambda line: json.dumps(line | {"words": [["a", 1]]}), r"has .* as 'words', .*word 1 is"),
        (lambda line: json.dumps(line | {"answer_words": "paris"}), "has 'paris' as 'answer_words'"),
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


WRONG = {
    "milliseconds": {"words": [["a", 0, 300], ["b", 310, 1900]]},
    "samples": {"words": [["a", 0, 4800], ["b", 4960, 30400]]},
    "unsorted": {"words": [["a", 1.0, 1.4], ["b", 0.2, 0.9]]},
    "within another word": {"words": [["a", 0.2, 1.4], ["b", 0.3, 0.9]]},
    "end before begin": {"words": [["a", 1.0, 0.4]]},
    "negative": {"words": [["a", -0.5, 0.4]]},
    "beyond the file": {"words": [["a", 0.5, 2.2]]},
    "words without words": {"words": []},
    "silence as word": {"words": [["a", 0.0, 0.4], [" ", 0.4, 0.6]]},
    "number as word": {"words": [[1, 0.0, 0.4]]},
    "text as time": {"words": [["a", "0.0", "0.4"]]},
    "words as text": {"words": "a b"},
    "answer beyond its file": {"answer_audio_filepath": "u0.flac", "answer_words": [["a", 0.5, 1.9]]},
    "answer without words": {"answer_text": "a", "answer_words": []},
    "duration of zero": {"duration": 0},
    "negative duration": {"duration": -2.0},
    "true as duration": {"duration": True},
    "enormous duration": {"duration": 10**400},
    "other rate": {"sample_rate": 8000},
    "rate as text": {"sample_rate": "16000"},
    "text as number": {"text": 5},
    "answer as number": {"answer_text": 5},
    "answers with number": {"answers": ["a", 5]},
    "answer without letters": {"answers": ["paris", "."]},
    "empty id": {"id": ""},
    "id of control characters": {"id": "a\x1b[2J"},
    "empty path": {"audio_filepath": ""},
    "path of 0": {"audio_filepath": "a\0b"},
    "split as number": {"split": 5},
    "speaker as list": {"speaker": ["a"]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_value_refused_with_file_and_line(speech, change):
    manifest = speech([1.5, 2.0, 2.0])
    edit(manifest, 1, lambda line: json.dumps(line | change))
    with pytest.raises(DataError) as error:
        read_manifest(manifest)
    assert error.value.file == manifest
    assert f"{manifest}:2 " in error.value.message
    assert any(repr(field) in error.value.message for field in change)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["duration", "words"])
def test_number_that_is_not_finite_refused(speech, field, number):
    manifest = speech([1.5, 2.0])
    value = number if field == "duration" else f'[["a", 0.1, {number}]]'
    edit(manifest, 1, lambda line: json.dumps(line | {field: "?"}).replace('"?"', value))
    with pytest.raises(DataError, match=r"jsonl:2 "):
        read_manifest(manifest)


@pytest.mark.parametrize(("size", "unit"), [(1000, "milliseconds"), (16000, "samples"), (1.5, None)])
def test_unit_of_word_times_is_recognised(speech, size, unit):
    manifest = speech([1.5, 2.0])
    edit(manifest, 1, lambda line: json.dumps(line | {"words": [["a", 0.1 * size, 1.9 * size]]}))
    with pytest.raises(DataError) as error:
        read_manifest(manifest)
    assert [name for name in ("milliseconds", "samples") if name in error.value.message] == [unit] * (unit is not None)


def test_unusual_right_values_accepted(speech):
    manifest = speech([1.5, 2.0])
    right = {
        "words": [["a", 0, 0.5], ["b", 0.4, 0.6], ["c", 0.6, 0.6], ["d", 0.6, 2.09]],
        "speaker": 0,
        "split": None,
        "sample_rate": 16000.0,
        "answers": ["\u6771\u4eac", "7", "C++"],
        "answer_text": None,
        "answer_words": None,
        "comment": {"any": "thing"},
    }
    edit(manifest, 1, lambda line: json.dumps(line | right))
    cut = read_manifest(manifest)[1]
    assert [tuple(word) for word in words_of(cut)][2:] == [("c", 0.6, 0.6), ("d", 0.6, pytest.approx(2.09))]
    assert (cut.supervisions[0].speaker, cut.custom["split"]) == ("0", None)


def test_path_that_no_file_can_have_is_a_missing_file(speech):
    manifest = speech([1.5, 2.0])
    edit(manifest, 1, lambda line: json.dumps(line | {"audio_filepath": "a" * 300}))
    with pytest.raises(DataError, match=r"jsonl:2 names .*a{300}"):
        read_manifest(manifest)


def test_each_line_is_compared_with_its_file(speech):
    """Two lines on one file: both are compared with it, not only the last one."""
    manifest = speech([1.5, 2.0, 2.0])
    edit(manifest, 1, lambda line: json.dumps(line | {"audio_filepath": "u2.flac", "duration": 9.0}))
    with pytest.raises(DataError, match=r"jsonl:2 states 9\.0 s"):
        read_manifest(manifest)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_do_not_matter(speech, ends, mark):
    manifest = speech([1.5, 2.0])
    lines = manifest.read_text().splitlines()
    manifest.write_bytes((mark + ends.join(lines)).encode())
    cuts = read_manifest(manifest)
    assert [cut.id for cut in cuts] == ["u0", "u1"]


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
