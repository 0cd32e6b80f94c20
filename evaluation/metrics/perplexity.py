"""Perplexity of the recognised text under a text language model."""

from __future__ import annotations

import math
from dataclasses import replace

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import LOG_PERPLEXITY, PERPLEXITY
from spectron.evaluation.sample import TEXT_SCORE, SpokenSample, TextScore
from spectron.tracking.measure import MetricValue


class LogPerplexity(RatioMetric):
    """Mean negative log-likelihood of the recognised text in nats per token, and its exponential, the perplexity.

    Speech without a recognised word has no token: it is skipped, and the number of skipped samples matters more than
    the value. Values depend on recogniser, scorer and tokenizer. They differ from the paper's "log-perplexity", whose
    unit is unknown.
    """

    label = LOG_PERPLEXITY
    weight = "tokens"
    needs = frozenset({TEXT_SCORE})
    skips = "no word was heard"
    judges_speech = True

    def __init__(self, judge: str | None = None) -> None:
        super().__init__(judge)
        self.perplexity = PERPLEXITY.name if judge is None else f"{PERPLEXITY.name}_{judge}"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return nats and tokens."""
        score: TextScore | None = self.evidence(sample, TEXT_SCORE)
        return (score.nll_nats, score.num_tokens) if score is not None and score.num_tokens else None

    def measures(self) -> list[MetricValue]:
        """Return nats per token and perplexity, whose interval is the exponential of the former's."""
        log, *rest = super().measures()
        low, high = (None if nats is None else math.exp(nats) for nats in (log.low, log.high))
        perplexity = replace(log, name=self.perplexity, unit=PERPLEXITY.unit, value=math.exp(log.value))
        return [log, replace(perplexity, low=low, high=high), *rest]

    def measure_names(self) -> set[str]:
        """Return the names of both values, of the tokens, and of the samples skipped."""
        return super().measure_names() | {self.perplexity}
