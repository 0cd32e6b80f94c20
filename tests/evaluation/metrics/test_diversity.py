"""Auto-BLEU against hand-worked values, self-BLEU against the BLEU of torchmetrics."""

import math
import random

import pytest
from torchmetrics.functional.text import bleu_score

from spectron.evaluation.metrics import AutoBleu, SelfBleu, auto_bleu, self_bleu


def drawn_words(draw: random.Random) -> list[str]:
    return draw.choices("abc", k=draw.randint(1, 7))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cow says moo", 0.0),
        ("moo", 0.0),
        ("a b a b", math.sqrt(2 / 3)),  # every word and "a b" twice, "b a" once: 4 / 4, 2 / 3
        ("the cow and the cow moo", math.sqrt(4 / 6 * 2 / 5)),
        ("a a a", 0.0),  # "a a" only overlaps itself: 3 / 3, 0 / 2
        ("a a a a", math.sqrt(2 / 3)),  # the first and the last "a a" do not overlap, the middle one overlaps both
    ],
)
def test_auto_bleu(text, expected):
    assert auto_bleu(text.split()) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(40))
def test_auto_bleu_equals_slow_search(seed):
    words = drawn_words(random.Random(seed))
    shares = []
    for size in (1, 2):
        places = range(len(words) - size + 1)
        again = [any(abs(p - q) >= size and words[p : p + size] == words[q : q + size] for q in places) for p in places]
        shares.append(sum(again) / len(again) if again else 0.0)
    assert auto_bleu(words) == pytest.approx(math.sqrt(shares[0] * shares[1]))


@pytest.mark.parametrize("seed", range(20))
def test_self_bleu_equals_torchmetrics_without_penalty(seed):
    draw = random.Random(seed)
    texts = [drawn_words(draw) for _ in range(draw.randint(2, 5))]
    for place, (words, found) in enumerate(zip(texts, self_bleu(texts), strict=True)):
        others = texts[:place] + texts[place + 1 :]
        nearest = len(min(others, key=lambda other: abs(len(other) - len(words))))
        penalty = 1.0 if len(words) > nearest else math.exp(1 - nearest / len(words))
        theirs = bleu_score([" ".join(words)], [[" ".join(other) for other in others]], n_gram=2)
        assert found == pytest.approx(float(theirs) / penalty, abs=1e-5)


def test_bleu_metrics_skip_empty_transcripts(make_sample):
    """Text "A, b!" contains 2/3 of the unigrams and 1/2 of the bigrams of "a a b", which contains all of it."""
    samples = [make_sample(recognised=text) for text in ("a a b", "", "A, b!", None)]
    within, between = AutoBleu(), SelfBleu()
    for metric in (within, between):
        metric.update(samples)
    share, skipped = between.measures()
    assert share.value == pytest.approx((math.sqrt(2 / 3 * 1 / 2) + 1) / 2)
    assert (share.count, share.higher_is_better, skipped.value, skipped.count) == (2, False, 2, 4)
    assert between.scores(samples[0]) == {"self_bleu": None}
    share, skipped = within.measures()
    assert (share.value, share.count, skipped.value) == (0.0, 2, 2)


def test_self_bleu_of_one_text_is_none():
    assert SelfBleu().numerators_and_denominators(["a b", None, "!"]) == [None, None, None]


def test_self_bleu_merges_states(make_sample):
    samples = [make_sample(recognised=text) for text in ("a b c", "b c", "c a b")]
    whole, one, other = SelfBleu(), SelfBleu(), SelfBleu()
    whole.update(samples)
    one.update(samples[:2])
    other.update(samples[2:])
    other.merge_state(one)
    assert other.measures()[0].value == pytest.approx(whole.measures()[0].value)
