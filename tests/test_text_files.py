"""One reader of text, lines, JSON and JSON lines."""

import json

import pytest
from places import ROOT

from spectron.errors import DataError
from spectron.text_files import read_json, read_json_lines, read_lines, read_text, read_texts

READERS = (read_text, read_lines, read_json, read_texts, lambda path: list(read_json_lines(path)))


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes into a file."""

    def write(content, name="a.txt"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_have_no_ends_and_no_mark(file, end, mark):
    path = file((mark + end.join(["one\u2028two", "", mark + "three\x0bfour", ""])).encode())
    assert read_lines(path) == ["one\u2028two", "", "three\x0bfour"]


def test_same_texts_from_lines_and_manifest(file):
    texts = ["one\u2028two", "three\x85four", "\N{GRINNING FACE} five"]
    lines = file("\n".join(["", *texts]).encode())
    manifest = file("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(), "a.jsonl")
    assert read_texts(lines) == read_texts(manifest) == texts


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"good\nbad \xff\xfe", 2),
        ("gut\n\n\xfcber".encode("latin-1"), 3),
        (b"a\nb\x00c", 2),
        ("text".encode("utf-16"), None),
        ("text".encode("utf-16-le"), 1),
    ],
)
def test_text_that_is_not_utf_8_refused_with_place(file, content, line):
    path = file(content)
    for read in READERS:
        with pytest.raises(DataError) as error:
            read(path)
        assert error.value.file == path
        assert (f"{path}:{line} " if line else str(path)) in error.value.message


@pytest.mark.parametrize("name", ["gone", "", "a" * 300, "a\0b"])
def test_missing_or_impossible_file_refused(tmp_path, name):
    for read in READERS:
        with pytest.raises(DataError) as error:
            read(tmp_path / name)
        assert error.value.file == tmp_path / name


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[" * 100_000,
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"text": "x", "text": "y"}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": "\\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
        "[1]",
        "5",
        "null",
    ],
)
def test_line_that_is_no_json_object_refused_with_place(file, line):
    path = file(f'{{"a": 1}}\n\n{line}\n'.encode(), "a.jsonl")
    for read in (lambda path: list(read_json_lines(path)), read_texts):
        with pytest.raises(DataError) as error:
            read(path)
        assert error.value.file == path
        assert f"{path}:3 " in error.value.message


def test_escaped_pair_of_surrogates_is_a_character(file):
    assert read_json(file(b'{"a": "\\ud83d\\ude00"}')) == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("value", ["5", "true", '["a"]', "{}"])
def test_manifest_text_of_wrong_type_refused_with_place(file, value):
    path = file(f'{{"text": "x"}}\n{{"text": {value}}}\n'.encode(), "a.jsonl")
    with pytest.raises(DataError) as error:
        read_texts(path)
    assert f"{path}:2 " in error.value.message


def test_manifest_lines_without_text_are_skipped(file):
    assert read_texts(file(b'{"text": null}\n{"id": "a"}\n{"text": " x "}\n', "a.jsonl")) == ["x"]


def test_data_are_read_by_no_other_reader():
    for path in (ROOT / "datamodules").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        assert not [name for name in ("json.loads", "json.load(", ".read_text(", "splitlines(") if name in code], path
