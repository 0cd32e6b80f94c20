"""Decoding restricted to a list of words, against a search over all paths, and its refusals."""

from itertools import groupby, product

import pytest
import torch
from places import ROOT

from spectron.datamodules.synthetic.world import CARRIERS, FILLERS, vocabulary
from spectron.errors import ConfigError
from spectron.evaluation.judges.lexicon import Lexicon

CHARACTERS = " ab"
WORDS = ["ab", "ba", "bab", "b"]


def slow_best(log_probabilities: torch.Tensor) -> str:
    """Return the words of the most likely path among all paths."""
    best, said = -torch.inf, ""
    for path in product(range(4), repeat=len(log_probabilities)):
        spelt = "".join(CHARACTERS[index - 1] for index, _ in groupby(path) if index)
        score = float(sum(log_probabilities[step, index] for step, index in enumerate(path)))
        words = spelt.split()
        if all(word in WORDS for word in words) and score > best:
            best, said = score, " ".join(words)
    return said


@pytest.mark.parametrize("seed", range(12))
def test_lexicon_finds_most_likely_words_of_all_paths(seed):
    generator = torch.Generator().manual_seed(seed)
    log_probabilities = (4 * torch.randn(6, 4, generator=generator)).log_softmax(-1)
    assert Lexicon(WORDS, CHARACTERS).decode(log_probabilities) == slow_best(log_probabilities)


def test_random_cases_contain_several_words():
    said = [
        slow_best((4 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))).log_softmax(-1))
        for seed in range(12)
    ]
    assert len(set(said)) > 5
    assert any(" " in words for words in said)


def test_lexicon_corrects_spelling():
    path = torch.full((5, 4), -20.0)
    for step, index in enumerate((3, 0, 3, 0, 3)):
        path[step, index] = 0.0  # spelt freely this is "bbb", which is no word
    path[2, 2] = -1.0  # an "a" is nearly as likely
    assert Lexicon(WORDS, CHARACTERS).decode(path) == "bab"
    assert Lexicon(WORDS, CHARACTERS).decode(path[:0]) == ""


@pytest.mark.parametrize(
    ("words", "characters", "named"),
    [([], " ab", "at least one word"), (["abc", "xa"], " ab", "'c', 'x'"), (["ab"], "ab", "a space")],
)
def test_lexicon_refuses_missing_words_or_characters(words, characters, named):
    with pytest.raises(ConfigError, match=named) as raised:
        Lexicon(words, characters)
    assert raised.value.key == "lexicon"


def test_lexicon_file_has_one_word_per_line(tmp_path):
    (tmp_path / "words.txt").write_text("AB\n\n b \n")
    assert Lexicon.read(tmp_path / "words.txt", CHARACTERS).words == ["ab", "b"]
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"words\.txt cannot be read as a list of words"):
        Lexicon.read(tmp_path / "words.txt", CHARACTERS)


def test_bundled_lexicon_equals_vocabulary_of_world():
    words = vocabulary() | {word for filled in FILLERS.values() for word in filled.split()}
    words |= {word for carrier in CARRIERS for word in carrier.split() if not word.startswith("{")}
    assert (ROOT / "experiments/mini/weights/judge_recogniser/words.txt").read_text().split() == sorted(words)
