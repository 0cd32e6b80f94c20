"""Whether a system repeats itself: within one text, and from one text to the next.

Both follow GSLM (Lakhotia et al. 2021, arXiv:2102.01192) in its "2-geometric" form: the geometric mean of a share of unigrams and a
share of bigrams, no smoothing, no penalty for length. Here texts are normalised first, and a text without any word is skipped, where
GSLM counts it as 0: silence is not diverse.
"""

from __future__ import annotations

import math
from collections import Counter

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import CorpusMetric, RatioMetric
from spectron.evaluation.metrics.names import AUTO_BLEU, SELF_BLEU
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import SpokenSample

ORDER = 2  # the longest n-grams, in words; it stands in the unit


def ngrams(words: list[str], size: int) -> list[tuple[str, ...]]:
    """All runs of so many words, from first to last."""
    return list(zip(*(words[start:] for start in range(size)), strict=False))


def auto_bleu(words: list[str], order: int = ORDER) -> float:
    """Geometric mean, over n up to ``order``, of the share of a text's n-grams that occur in it again without overlapping.

    0 for a text of fewer words than ``order``, which has nothing to repeat.
    """
    return math.prod(repeated_share(words, size) for size in range(1, order + 1)) ** (1 / order)


def repeated_share(words: list[str], size: int) -> float:
    """Share of the n-grams of one size that also stand wholly before or wholly behind themselves."""
    grams = ngrams(words, size)
    first = {gram: place for place, gram in reversed(list(enumerate(grams)))}
    last = {gram: place for place, gram in enumerate(grams)}
    repeated = sum(place - first[gram] >= size or last[gram] - place >= size for place, gram in enumerate(grams))
    return repeated / len(grams) if grams else 0.0


def self_bleu(texts: list[list[str]], order: int = ORDER) -> list[float]:
    """BLEU (Papineni et al. 2002, without the penalty for brevity) of each text of words against all the others as references.

    0 where no n-gram of some length is shared, and for a text of fewer words than ``order``.

    Source: Zhu et al. 2018 (arXiv:1802.01886); without the penalty as in GSLM, since the nearest of many references is as long.
    """
    shares = [shared_shares(texts, size) for size in range(1, order + 1)]
    return [math.prod(of_text) ** (1 / order) for of_text in zip(*shares, strict=True)]


def shared_shares(texts: list[list[str]], size: int) -> list[float]:
    """Each text's clipped precision: its n-grams counted at most as often as in the other text that holds them most often."""
    counts = [Counter(ngrams(words, size)) for words in texts]
    # The two largest counts of an n-gram suffice: "in the others" is the second for the text that has the first.
    largest: dict[tuple[str, ...], tuple[int, int]] = {}
    for count in counts:
        for gram, times in count.items():
            first, second = largest.get(gram, (0, 0))
            largest[gram] = (times, first) if times > first else (first, max(second, times))
    shares = []
    for count in counts:
        elsewhere = {gram: largest[gram][times == largest[gram][0]] for gram, times in count.items()}
        shared = sum(min(times, elsewhere[gram]) for gram, times in count.items())
        shares.append(shared / count.total() if count else 0.0)
    return shares


class AutoBleu(RatioMetric):
    """How much a text repeats itself, of the transcript of the generated speech: 0 not at all, 1 all of it."""

    label = AUTO_BLEU
    needs = frozenset({"transcriber"})
    skips = "no word was heard"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """The text's share and 1."""
        words = normalize(sample.heard or "").split()
        return (auto_bleu(words), 1) if words else None


class SelfBleu(CorpusMetric):
    """How much the transcripts of the generated speech resemble each other: 0 nothing in common, 1 all of each stands in another.

    It grows with the number of texts: only compare figures of equally many.
    """

    label = SELF_BLEU
    needs = frozenset({"transcriber"})
    skips = "no word was heard, or in no other sample"
    judges_speech = True

    def trait_of(self, sample: SpokenSample) -> str | None:
        """What was heard."""
        return sample.heard

    def numerators_and_denominators(self, traits: list[str | None]) -> list[NumeratorAndDenominator]:
        """Each text's BLEU against the others, and 1."""
        words = [normalize(text or "").split() for text in traits]
        spoken = [of_text for of_text in words if of_text]
        if len(spoken) < 2:
            return [None] * len(traits)
        scores = iter(self_bleu(spoken))
        return [(next(scores), 1) if of_text else None for of_text in words]
