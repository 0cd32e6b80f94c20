"""Normalisation of texts before words are counted, likelihoods are computed or answers are searched."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

NORMALIZER_VERSION = 2  # increase it with every change: values of different versions are not comparable


def normalize(text: str) -> str:
    """Convert to lower case without accents and punctuation, with single spaces.

    Apostrophes join ("don't" becomes "dont"), every other sign separates words. Articles and numbers stay: "4" and
    "four" differ, as they are different words (``with_digits`` makes them equal).
    """
    text = unicodedata.normalize("NFKD", text.lower())
    text = re.sub("[\u0300-\u036f'\u2018\u2019\u02bc]", "", text)  # Latin accents, and four kinds of apostrophe
    return " ".join("".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text).split())


def with_digits(text: str) -> str:
    """Return a normalised text with digits for English number words: "nineteen sixty nine" becomes "1969"."""
    return normalize(_number_words()(text))


@cache
def _number_words() -> Callable[[str], str]:
    """Return Whisper's conversion of number words, from transformers."""
    from transformers.models.whisper.english_normalizer import EnglishNumberNormalizer

    return EnglishNumberNormalizer()
