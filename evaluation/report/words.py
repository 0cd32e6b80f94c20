"""Texts with their word errors marked as the word error rate counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectron.evaluation.metrics import normalize


@dataclass(frozen=True)
class MarkedWord:
    """Word of a text: correct (``same``), ``replaced`` (should be ``wanted``), ``added``, or ``missing``."""

    text: str
    kind: Literal["same", "replaced", "added", "missing"] = "same"
    wanted: str = ""


def plain(text: str) -> list[MarkedWord]:
    """Return the words of a text without marks."""
    return [MarkedWord(token) for token in text.split()]


def mark_errors(wanted: str, text: str) -> list[MarkedWord]:
    """Return the words of ``text`` with their errors compared with ``wanted``.

    Both are aligned after normalisation, as for the word error rate, and the words are shown as written. If
    normalisation splits a written word, the whole word is marked.
    """
    import jiwer

    wanted_words, tokens = normalize(wanted).split(), text.split()
    owners, words = [], []
    for place, token in enumerate(tokens):
        for word in normalize(token).split():
            owners.append(place)
            words.append(word)
    if not wanted_words:
        return plain(text)
    owners.append(len(tokens))
    marks: dict[int, MarkedWord] = {}
    missing: dict[int, list[str]] = {}
    for chunk in jiwer.process_words(" ".join(wanted_words), " ".join(words)).alignments[0]:
        should_be = wanted_words[chunk.ref_start_idx : chunk.ref_end_idx]
        if chunk.type == "delete":
            missing.setdefault(owners[chunk.hyp_start_idx], []).extend(should_be)
        for offset, index in enumerate(range(chunk.hyp_start_idx, chunk.hyp_end_idx)):
            token = tokens[owners[index]]
            if chunk.type == "substitute":
                marks[owners[index]] = MarkedWord(token, "replaced", should_be[offset])
            elif chunk.type == "insert":
                marks.setdefault(owners[index], MarkedWord(token, "added"))
    shown: list[MarkedWord] = []
    for place in range(len(tokens) + 1):
        shown += [MarkedWord(word, "missing") for word in missing.get(place, [])]
        shown += [marks.get(place, MarkedWord(token)) for token in tokens[place : place + 1]]
    return shown
