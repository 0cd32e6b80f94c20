"""CTC decoding held to a list of words: a recogniser of a closed vocabulary then spells no word that there is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from spectron.errors import ConfigError, require_extra

BEAM, THRESHOLD = 50, 30.0
NEVER = -1.0e4


class Lexicon:
    """Finds the likeliest sequence of known words (flashlight-text's lexicon decoder, without a language model).

    Source: Collobert, Puhrsch and Synnaeve 2016 (arXiv:1609.03193).

    Args:
        words: The words, in lower case.
        characters: What the recogniser spells, a space among it; index 0 of its outputs is the blank and ``i + 1`` character ``i``.

    Raises:
        ConfigError: if there is no word, or one that cannot be spelt.
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
            raise ConfigError("a lexicon needs at least one word, and a recogniser that spells spaces between them")
        if unknown := sorted({character for word in words for character in word} - set(characters)):
            raise ConfigError(
                f"the recogniser spells no {', '.join(map(repr, unknown))}, which the lexicon's words need"
            )
        self.words = list(words)
        self.outputs = len(characters) + 1
        space = characters.index(" ") + 1
        trie = Trie(self.outputs, space)
        for place, word in enumerate(self.words):
            # With the space behind it: a word that ended with its last letter could not have that letter last for two steps.
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
        """The lexicon of a file with a word a line.

        Raises:
            ConfigError: if it cannot be read, or as for the constructor.
        """
        try:
            words = [line.strip().lower() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path} cannot be read as a list of words ({error}): name a text file with a word a line"
            ) from error
        return cls(words, characters)

    def decode(self, log_probabilities: Tensor) -> str:
        """The words behind the log-probabilities (U, C) of one recording; no word where there is no step."""
        if not len(log_probabilities):
            return ""
        # Texts do not end with a space, and the last word needs one.
        steps = torch.cat([log_probabilities.detach().float().cpu(), self.end])
        found = self.decoder.decode(steps.data_ptr(), *steps.shape)
        return " ".join(self.words[word] for word in found[0].words if word >= 0) if found else ""
