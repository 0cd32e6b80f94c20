"""How likely a text LM finds what the speech says."""

from __future__ import annotations

import math
from dataclasses import replace

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import LOG_PERPLEXITY, PERPLEXITY
from spectron.evaluation.sample import SpokenSample
from spectron.tracking.measure import MetricValue


class LogPerplexity(RatioMetric):
    """Mean negative log-likelihood of the transcript of the generated speech, in nats a token, and its exponential.

    Speech in which no word was heard has no token: it is counted as skipped, and says more than the value beside it. Values
    depend on recogniser, scorer and tokenizer, and are not the paper's "log-perplexity", whose unit is not known.
    """

    label = LOG_PERPLEXITY
    weight = "tokens"
    needs = frozenset({"transcriber", "text_scorer"})
    skips = "no word was heard"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Nats and tokens."""
        return (sample.nll_nats or 0.0, sample.num_tokens) if sample.num_tokens else None

    def measures(self) -> list[MetricValue]:
        """Nats a token, and perplexity, whose interval is the exponential of the other's."""
        log, *rest = super().measures()
        low, high = (None if nats is None else math.exp(nats) for nats in (log.low, log.high))
        return [
            log,
            replace(log, name=PERPLEXITY.name, unit=PERPLEXITY.unit, value=math.exp(log.value), low=low, high=high),
            *rest,
        ]

    def measure_names(self) -> set[str]:
        """Both forms, tokens, and the samples skipped."""
        return super().measure_names() | {PERPLEXITY.name}
