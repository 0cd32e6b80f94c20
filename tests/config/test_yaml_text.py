"""Reading of YAML: values that mean what they say, and refusals with line and column."""

import math

import pytest

from spectron.config.composition import compose
from spectron.config.yaml_text import read_yaml
from spectron.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17),
        ("-3", -3),
        ("0", 0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("5e-4", 5e-4),
        (".5e3", 500.0),
        ("-1.", -1.0),
        ("007.5", 7.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("1__0", "1__0"),
        ("1.2.3", "1.2.3"),
        ("00:12:00:00", "00:12:00:00"),
        ("2024-01-01", "2024-01-01"),
        ("y", "y"),
        ("'0017'", "0017"),
        ('"no"', "no"),
        ("!!str 5", "5"),
        ("|\n  0017", "0017"),
        ("{no: 1, 1: 2, true: 3}", {"no": 1, "1": 2, "true": 3}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("{<<: [{a: 1}, {a: 2, b: 2}]}", {"a": 1, "b": 2}),
        ("text: ${oc.env:HOME}", {"text": "${oc.env:HOME}"}),
    ],
)
def test_value_is_what_its_text_says(text, value):
    assert read_yaml(text) == value
    assert type(read_yaml(text)) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(read_yaml(".nan"))


DEEP = "[" * 60 + "]" * 60
VERY_DEEP = "[" * 9000 + "]" * 9000
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        "0017", "-08", "1:30", "1:30:45", "1:30.5", "no", "On", "YES", "[1, [2, off]]", "9223372036854775808",
        "0x" + "f" * 6000, "9" * 6000, '"a\\0b"', '"\\ud800"', "{a: 1, a: 2}", "{[1]: 2}", "!!python/name:os.system",
        "!!int x", "!!binary a", "!!timestamp x", "!mine {a: 1}", "{<<: 3}", "*a", "&a [*a]", "a: b: c", "\x00",
        "--- 1\n--- 2", DEEP, VERY_DEEP, BOMB,
    ],
    ids=lambda text: ascii(text)[:20],
)  # fmt: skip
def test_text_that_misleads_is_refused(text):
    with pytest.raises(ConfigError):
        read_yaml(text)


@pytest.mark.parametrize("value", ["0017", "1:30", "no"])
def test_refusal_names_file_and_line(tmp_path, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"name: x\nseed: {value}\n")
    with pytest.raises(ConfigError, match="line 2, column 7") as raised:
        compose(path)
    assert raised.value.file == path
    path.write_text("name: x\n")
    with pytest.raises(ConfigError) as raised:
        compose(path, [f"seed={value}"])
    assert (raised.value.key, raised.value.origin) == ("seed", "the command line")


def test_file_with_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert compose(path).values == {"name": "x"}


@pytest.mark.parametrize("text", ["a: ${a}", "a: ${b}\nb: ${a}", "a: ${", "a: ${oc.nothing:1}", "a: ???", "a: ${b.c}"])
def test_interpolation_that_cannot_be_resolved_is_refused(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        compose(path)
