"""A text with its word errors marked, so that an eye sees what a word error rate counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spectron.evaluation.metrics import normalize


@dataclass(frozen=True)
class MarkedWord:
    """A word as it is shown: ``same`` as what it should be, in place of ``wanted``, ``added``, or ``missing`` from the text."""

    text: str
    kind: Literal["same", "replaced", "added", "missing"] = "same"
    wanted: str = ""


def plain(text: str) -> list[MarkedWord]:
    """A text without marks."""
    return [MarkedWord(token) for token in text.split()]


def mark_errors(wanted: str, text: str) -> list[MarkedWord]:
    """The words of ``text`` with their errors against ``wanted``, aligned after normalisation and shown as they are written.

    The marks are those that the word error rate counts. A written word that normalisation splits is marked as a whole.
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
