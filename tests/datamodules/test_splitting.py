"""Split of utterances into prompt and continuation."""

import random

import pytest

from spectron.batch import Word
from spectron.datamodules.splitting import Splitting, split_words, text_of
from spectron.errors import ConfigError

WORDS = [Word("the", 0.1, 0.4), Word("cow", 0.4, 1.0), Word("says", 1.5, 2.0), Word("moo", 2.0, 2.8)]


@pytest.mark.parametrize(
    ("prompt_seconds", "cut"),
    [
        (0.6, 0.4),
        (0.9, 1.0),
        (1.2, 1.2),
        (1.6, 1.5),
        (1.8, 2.0),
        (0.05, 0.4),
    ],  # 1.2 is in the silence after "cow": it stays
)
def test_cut_moves_to_nearest_word_boundary(prompt_seconds, cut):
    assert Splitting(prompt_seconds, word_boundary=True, min_continuation_seconds=0.5).cut_at(
        3.0, WORDS, 0
    ) == pytest.approx(cut)


def test_cut_not_moved_by_default():
    assert Splitting(0.6).cut_at(3.0, WORDS, 0) == 0.6


def test_boundary_near_end_not_used():
    splitting = Splitting(1.9, word_boundary=True, min_continuation_seconds=1.0)
    assert splitting.cut_at(2.95, WORDS, 0) == pytest.approx(1.5)  # 2.0 would leave 0.95 s
    assert splitting.allows(2.95, WORDS)
    assert not splitting.allows(2.8, WORDS)
    assert not Splitting(0.2, word_boundary=True, min_continuation_seconds=0.3).allows(3.0, WORDS[:1])
    assert not Splitting(0.2, word_boundary=True, min_continuation_seconds=2.8).allows(3.0, WORDS)


def test_splitting_allows_without_words():
    splitting = Splitting(2.0, min_continuation_seconds=1.0)
    assert splitting.allows(3.0, None)
    assert not splitting.allows(2.99, None)


def test_drawn_prompts_fill_range():
    splitting = Splitting((1.0, 3.0), min_continuation_seconds=1.0)
    cuts = [splitting.cut_at(3.0, None, seed) for seed in range(400)]
    assert min(cuts) < 1.02
    assert max(cuts) > 1.98
    assert all(1.0 <= cut <= 2.0 for cut in cuts)
    assert cuts == [splitting.cut_at(3.0, None, seed) for seed in range(400)]


def test_split_words_by_middle_of_word():
    for at, before in [(0.69, "the"), (0.71, "the cow"), (0.0, "")]:
        left, right = split_words(WORDS, at)
        assert (text_of(left), f"{text_of(left)} {text_of(right)}".strip()) == (before, "the cow says moo")
    assert split_words([], 1.0) == ([], [])


def test_split_words_shifts_times():
    left, right = split_words(WORDS, 1.2)
    assert left == WORDS[:2]
    assert [(word.text, round(word.begin, 6), round(word.end, 6)) for word in right] == [
        ("says", 0.3, 0.8),
        ("moo", 0.8, 1.6),
    ]


def test_cut_at_boundary_divides_no_word():
    rng = random.Random(0)
    splitting = Splitting((0.1, 2.0), word_boundary=True, min_continuation_seconds=0.1)
    for seed in range(100):
        edges = sorted(rng.uniform(0, 3) for _ in range(12))
        words = [Word(str(index), *edges[2 * index : 2 * index + 2]) for index in range(6)]
        cut = splitting.cut_at(3.2, words, seed)
        assert not any(word.begin < cut - 1e-9 and cut + 1e-9 < word.end for word in words)


@pytest.mark.parametrize(
    "wrong", [{"prompt_seconds": 0.0}, {"prompt_seconds": (3.0, 1.0)}, {"min_continuation_seconds": 0.0}]
)
def test_invalid_splitting_refused(wrong):
    with pytest.raises(ConfigError, match="must be"):
        Splitting(**wrong)
