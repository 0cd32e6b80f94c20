"""The one way in which texts are made comparable before words are counted or answers looked for."""

from __future__ import annotations

import re
import unicodedata

NORMALIZER_VERSION = 1  # raise it with every change: figures of different versions must not be compared


def normalize(text: str) -> str:
    """Lower case, no accents, no punctuation, single spaces.

    Apostrophes join ("don't" becomes "dont"), every other sign separates. Articles stay, and numbers stay as they are written:
    "4" and "four" differ.
    """
    text = unicodedata.normalize("NFKD", text.lower())
    text = re.sub("[\u0300-\u036f'\u2018\u2019\u02bc]", "", text)  # Latin accents, and four kinds of apostrophe
    return " ".join("".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text).split())
