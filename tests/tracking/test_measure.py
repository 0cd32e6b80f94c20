"""Numbers, intervals and tables for the terminal."""

import math

import pytest

from spectron.tracking.measure import interval, number, short


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (-2.0, "-2"), (9999.0, "9999"), (12345.6, "12,346"), (None, "-"), (math.nan, "-")],
)
def test_number_four_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"decimals": 2}, "1,234.57"),
        ({"decimals": 0}, "1,235"),
        ({"decimals": 1, "sign": True}, "+1,234.6"),
        ({"sign": True}, "+1235"),
    ],
)
def test_number_decimals_and_sign(options, text):
    assert number(1234.567, **options) == text


def test_number_missing_text():
    assert number(None, 2, missing="none") == "none"


def test_interval_of_two_ends():
    assert interval(0.1, 0.25) == "0.1 - 0.25"
    assert interval(None, 0.25) == interval(math.nan, math.nan) == ""


@pytest.mark.parametrize(("count", "text"), [(812, "812"), (1234, "1.2 k"), (90_400_000, "90 M"), (1.1e9, "1.1 B")])
def test_short_count(count, text):
    assert short(count) == text
