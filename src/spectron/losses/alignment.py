"""Alignment losses: prediction of the token, or of the letter, that each speech step is speaking.

A model that speaks a text has to keep track of its position in the text. Regression alone teaches this slowly, because
the previous frame predicts most of the next one. If a corpus has word times, every speech step can be trained to
predict the token that it speaks. A word that is one token must still be learnt as a whole; with letters as targets, the
model learns from each word how other words sound. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spectron.batch import Word
from spectron.contracts import LanguageModel

TokensOf = Callable[[LanguageModel, list[Word]], list[Tensor]]


def frame_level_targets(
    language_model: LanguageModel, words: list[list[Word]], num_steps: int, step_rate_hz: float, tokens_of: TokensOf
) -> tuple[Tensor, Tensor]:
    """Return the token spoken in the middle of every speech step, ids (B, K), and where there is one, (B, K).

    ``tokens_of`` (one of ``ALIGNMENT_LOSSES``) gives the tokens of a word, which divide its time evenly. There is no
    token between words, nor in a row without known words.
    """
    ids = torch.zeros(len(words), num_steps, dtype=torch.long)
    said = torch.zeros(len(words), num_steps, dtype=torch.bool)
    middles = (torch.arange(num_steps) + 0.5) / step_rate_hz
    for row, spoken in enumerate(words):
        for tokens, word in zip(tokens_of(language_model, spoken), spoken, strict=True):
            inside = (middles >= word.begin) & (middles < word.end)
            if len(tokens):
                fraction = (middles[inside] - word.begin) / (word.end - word.begin)
                # A fraction may be rounded up to 1.
                ids[row, inside] = tokens[(fraction * len(tokens)).long().clamp(max=len(tokens) - 1)]
                said[row] |= inside
    return ids, said


def tokens_of_words(language_model: LanguageModel, words: list[Word]) -> list[Tensor]:
    """Return the tokens of each word within the whole text: those that it adds to the text before it."""
    if not words:
        return []
    texts = [word.text for word in words]
    ids, counts = language_model.tokenize([" ".join(texts[: count + 1]) for count in range(len(texts))])
    begins = [0, *counts.tolist()[:-1]]
    return [row[begin:end] for row, begin, end in zip(ids, begins, counts.tolist(), strict=True)]


def tokens_of_letters(language_model: LanguageModel, words: list[Word]) -> list[Tensor]:
    """Return one token for each letter of each word: the last one, if the tokenizer puts a word start before it."""
    letters = sorted({letter for word in words for letter in word.text})
    rows, counts = language_model.tokenize(letters) if letters else (torch.zeros(0, 0), torch.zeros(0))
    last = {
        letter: row[:count][-1:] for letter, row, count in zip(letters, rows.tolist(), counts.tolist(), strict=True)
    }
    return [torch.tensor([token for letter in word.text for token in last[letter]], dtype=torch.long) for word in words]


ALIGNMENT_LOSSES: dict[str, TokensOf] = {"alignment": tokens_of_words, "spelling": tokens_of_letters}
