"""Repetition: within one text (auto-BLEU) and between texts (self-BLEU).

Both follow GSLM (Lakhotia et al. 2021, arXiv:2102.01192) in its "2-geometric" form: the geometric mean of a fraction of
unigrams and a fraction of bigrams, no smoothing, no brevity penalty. Differences: texts are normalised first, and a
text without words is skipped, because silence is not diverse; GSLM gives it the value 0.
"""

from __future__ import annotations

import math
from collections import Counter

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import CorpusMetric, RatioMetric
from spectron.evaluation.metrics.names import AUTO_BLEU, SELF_BLEU
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample

ORDER = 2  # the longest n-grams, in words; part of the unit


def ngrams(words: list[str], size: int) -> list[tuple[str, ...]]:
    """Return all sequences of ``size`` words, from first to last."""
    return list(zip(*(words[start:] for start in range(size)), strict=False))


def auto_bleu(words: list[str], order: int = ORDER) -> float:
    """Compute the fraction of a text's n-grams that occur again without overlap, over n up to ``order``.

    The value is the geometric mean over n. A text of fewer words than ``order`` has the value 0: it repeats nothing.
    """
    return math.prod(repeated_share(words, size) for size in range(1, order + 1)) ** (1 / order)


def repeated_share(words: list[str], size: int) -> float:
    """Return the fraction of the n-grams of one size that occur again entirely before or entirely after themselves."""
    grams = ngrams(words, size)
    first = {gram: place for place, gram in reversed(list(enumerate(grams)))}
    last = {gram: place for place, gram in enumerate(grams)}
    repeated = sum(place - first[gram] >= size or last[gram] - place >= size for place, gram in enumerate(grams))
    return repeated / len(grams) if grams else 0.0


def self_bleu(texts: list[list[str]], order: int = ORDER) -> list[float]:
    """Compute the BLEU (Papineni et al. 2002, without brevity penalty) of each text with all other texts as references.

    The value is 0 if no n-gram of some length is shared, and for a text of fewer words than ``order``.

    Source: Zhu et al. 2018 (arXiv:1802.01886); without the penalty as in GSLM, because one of many references is as
        long.
    """
    shares = [shared_shares(texts, size) for size in range(1, order + 1)]
    return [math.prod(of_text) ** (1 / order) for of_text in zip(*shares, strict=True)]


def shared_shares(texts: list[list[str]], size: int) -> list[float]:
    """Compute each text's clipped precision: an n-gram counts at most as often as in the other text with most of it."""
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
    """Repetition within the transcript of the generated speech, from 0 (none) to 1 (all of the text)."""

    label = AUTO_BLEU
    needs = frozenset({TRANSCRIPT})
    skips = "no word was heard"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return the text's auto-BLEU and 1."""
        words = normalize(self.evidence(sample, TRANSCRIPT) or "").split()
        return (auto_bleu(words), 1) if words else None


class SelfBleu(CorpusMetric):
    """Similarity of the transcripts of the generated speech, from 0 (nothing in common) to 1 (equal).

    The value grows with the number of texts: only compare sets of equal size.
    """

    label = SELF_BLEU
    needs = frozenset({TRANSCRIPT})
    skips = "no word was heard, or in no other sample"
    judges_speech = True

    def trait_of(self, sample: SpokenSample) -> str | None:
        """Return the transcript."""
        return self.evidence(sample, TRANSCRIPT)

    def numerators_and_denominators(self, traits: list[str | None]) -> list[NumeratorAndDenominator]:
        """Return each text's BLEU with the others as references, and 1."""
        words = [normalize(text or "").split() for text in traits]
        spoken = [of_text for of_text in words if of_text]
        if len(spoken) < 2:
            return [None] * len(traits)
        scores = iter(self_bleu(spoken))
        return [(next(scores), 1) if of_text else None for of_text in words]
