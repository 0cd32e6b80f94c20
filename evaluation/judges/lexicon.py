"""CTC decoding restricted to a list of words, for recognisers of a closed vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from spectron.errors import ConfigError, DataError, require_extra
from spectron.text_files import read_lines

BEAM, THRESHOLD = 50, 30.0
NEVER = -1.0e4


class Lexicon:
    """Decoder of the most likely sequence of known words (flashlight-text's lexicon decoder, without language model).

    Source: Collobert, Puhrsch and Synnaeve 2016 (arXiv:1609.03193).

    Args:
        words: The words, in lower case.
        characters: Characters of the recogniser, including a space. Output 0 is the blank, and ``i + 1`` is character
            ``i``.

    Raises:
        ConfigError: if there is no word, or if a word contains other characters.
    """

    def __init__(self, words: Sequence[str], characters: str) -> None:
        require_extra("judges", "Lexicon", "flashlight")
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconDecoder,
            LexiconDecoderOptions,
            SmearingMode,
            Trie,
            ZeroLM,
        )

        if not words or " " not in characters:
            raise ConfigError(
                "a lexicon needs at least one word and a recogniser with a space among its characters", key="lexicon"
            )
        if unknown := sorted({character for word in words for character in word} - set(characters)):
            raise ConfigError(
                f"its words contain {', '.join(map(repr, unknown))}, which the recogniser cannot spell", key="lexicon"
            )
        self.words = list(words)
        self.outputs = len(characters) + 1
        space = characters.index(" ") + 1
        trie = Trie(self.outputs, space)
        for place, word in enumerate(self.words):
            # With a final space: otherwise the last letter of a word could not last for two steps.
            trie.insert([characters.index(character) + 1 for character in word + " "], place, 0.0)
        trie.smear(SmearingMode.MAX)
        options = LexiconDecoderOptions(
            beam_size=BEAM,
            beam_size_token=self.outputs,
            beam_threshold=THRESHOLD,
            lm_weight=0.0,
            word_score=0.0,
            unk_score=float("-inf"),
            sil_score=0.0,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        self.end = torch.full((1, self.outputs), NEVER)
        self.end[0, space] = 0.0
        self.decoder = LexiconDecoder(options, trie, ZeroLM(), space, 0, -1, [], False)

    @classmethod
    def read(cls, path: Path, characters: str) -> Lexicon:
        """Read the lexicon of a file with one word per line.

        Raises:
            ConfigError: if it cannot be read, or if the constructor refuses it.
        """
        try:
            words = [line.strip().lower() for line in read_lines(path) if line.strip()]
        except DataError as error:
            raise ConfigError(
                f"{path} cannot be read as a list of words ({error.message}): name a text file with one word per line",
                key="lexicon",
            ) from error
        return cls(words, characters)

    def decode(self, log_probabilities: Tensor) -> str:
        """Return the words of the log-probabilities (U, C) of one recording; no word without a step."""
        if not len(log_probabilities):
            return ""
        # Texts do not end with a space, but the last word needs one.
        steps = torch.cat([log_probabilities.detach().float().cpu(), self.end])
        found = self.decoder.decode(steps.data_ptr(), *steps.shape)
        return " ".join(self.words[word] for word in found[0].words if word >= 0) if found else ""
