"""Normalisation of texts before words are counted or answers are searched."""

from __future__ import annotations

import re
import unicodedata

NORMALIZER_VERSION = 1  # increase it with every change: values of different versions are not comparable


def normalize(text: str) -> str:
    """Convert to lower case without accents and punctuation, with single spaces.

    Apostrophes join ("don't" becomes "dont"), every other sign separates words. Articles and numbers stay: "4" and
    "four" differ.
    """
    text = unicodedata.normalize("NFKD", text.lower())
    text = re.sub("[\u0300-\u036f'\u2018\u2019\u02bc]", "", text)  # Latin accents, and four kinds of apostrophe
    return " ".join("".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text).split())
