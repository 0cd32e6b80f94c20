"""What is being said: a guide to the order in which a text is spoken, and to how its words sound.

A model that speaks a text has to keep its place in it, and regression alone teaches that slowly: most of a frame is told by the one
before. Where a corpus has word times, every speech step can be asked for the token that it is saying. A word of one token is still a
whole sound to learn by heart; asked for its letters too, the model learns from every word how the others sound. Additions of ours.
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
    """The token that is said in the middle of every speech step: ids (B, K), and where there is one, (B, K).

    The tokens of a word, of which ``tokens_of`` (one of ``ALIGNMENT_LOSSES``) decides, share its time evenly. Between words none is said, nor in
    a row whose words are not known.
    """
    ids = torch.zeros(len(words), num_steps, dtype=torch.long)
    said = torch.zeros(len(words), num_steps, dtype=torch.bool)
    middles = (torch.arange(num_steps) + 0.5) / step_rate_hz
    for row, spoken in enumerate(words):
        for tokens, word in zip(tokens_of(language_model, spoken), spoken, strict=True):
            inside = (middles >= word.begin) & (middles < word.end)
            if len(tokens):
                share = (middles[inside] - word.begin) / (word.end - word.begin)
                ids[row, inside] = tokens[
                    (share * len(tokens)).long().clamp(max=len(tokens) - 1)
                ]  # a share may be rounded up to 1
                said[row] |= inside
    return ids, said


def tokens_of_words(language_model: LanguageModel, words: list[Word]) -> list[Tensor]:
    """The tokens of each word, as the whole text has them: what it adds to the text before it."""
    if not words:
        return []
    texts = [word.text for word in words]
    ids, counts = language_model.tokenize([" ".join(texts[: count + 1]) for count in range(len(texts))])
    begins = [0, *counts.tolist()[:-1]]
    return [row[begin:end] for row, begin, end in zip(ids, begins, counts.tolist(), strict=True)]


def tokens_of_letters(language_model: LanguageModel, words: list[Word]) -> list[Tensor]:
    """A token for each letter of each word, however the text has them: the last one, where one that only begins a word goes before."""
    letters = sorted({letter for word in words for letter in word.text})
    rows, counts = language_model.tokenize(letters) if letters else (torch.zeros(0, 0), torch.zeros(0))
    last = {
        letter: row[:count][-1:] for letter, row, count in zip(letters, rows.tolist(), counts.tolist(), strict=True)
    }
    return [torch.tensor([token for letter in word.text for token in last[letter]], dtype=torch.long) for word in words]


ALIGNMENT_LOSSES: dict[str, TokensOf] = {"alignment": tokens_of_words, "spelling": tokens_of_letters}
