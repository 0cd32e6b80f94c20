"""Contracts of metrics. A custom metric subclasses one of these classes; a YAML names it by ``class_path``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator, columns_of, ratio_interval
from spectron.evaluation.metrics.names import SKIPPED, MetricSpec
from spectron.evaluation.sample import SpokenSample
from spectron.tracking.measure import MetricValue


class SpokenMetric(Metric):
    """A torchmetrics metric over judged samples.

    Args:
        judge: Name of the judge whose evidence it reads; None reads the first judge that gives it.

    Attributes:
        needs: Kinds of evidence that it needs: ``transcript``, ``text_score``, ``voice``, ``quality``, or those of a
            custom judge.
        examples: Evidence for the made-up samples of the contract's checks, for each kind of a custom judge.
        skips: Why a sample is skipped, in words for a report, such as "no word was heard".
        judges_speech: Whether it only depends on the speech, so that it is also computed for recordings.
        by_split: Whether it is also computed for each split, such as speakers and facts never trained on.
    """

    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    examples: ClassVar[Mapping[str, Sequence[Any]]] = {}
    skips: ClassVar[str] = "the metric cannot use them"
    judges_speech: ClassVar[bool] = False
    by_split: ClassVar[bool] = False

    def __init__(self, judge: str | None = None) -> None:
        # One rank judges the panel while the others wait: synchronising with them would never end.
        super().__init__(sync_on_compute=False)
        self.judge = judge

    def evidence(self, sample: SpokenSample, kind: str) -> Any:
        """Return the evidence of a kind in a sample by this metric's judge; None if the judge found nothing."""
        return sample.evidence_of(kind, self.judge)

    @abstractmethod
    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples."""

    @abstractmethod
    def measures(self) -> list[MetricValue]:
        """Return the values with counts and intervals; a value is NaN if no sample could be used."""

    @abstractmethod
    def measure_names(self) -> set[str]:
        """Return the names of all values that ``measures`` may return."""

    @abstractmethod
    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """Return the values of one sample alone, None if it cannot be used."""


class SummedMetric(SpokenMetric):
    """A sum over samples divided by a sum over samples; each sample adds a numerator and a denominator.

    Stored numerators and denominators can be added again and give the value of the samples that they came from.

    Args:
        judge: Name of the judge whose evidence it reads. The metric's name then ends with ``_<judge>``.

    Attributes:
        label: Name, unit and direction.
        weight: What the denominators count, such as ``words``, if that is not the number of samples.
    """

    label: MetricSpec
    weight: ClassVar[str | None] = None
    numerators: list[Tensor]
    denominators: list[Tensor]
    skipped: Tensor

    def __init__(self, judge: str | None = None) -> None:
        super().__init__(judge)
        if judge is not None:
            self.label = replace(self.label, name=f"{self.label.name}_{judge}")
        self.add_state("numerators", [], dist_reduce_fx="cat")
        self.add_state("denominators", [], dist_reduce_fx="cat")
        self.add_state("skipped", torch.tensor(0), dist_reduce_fx="sum")

    def add_parts(self, parts: list[NumeratorAndDenominator]) -> None:
        """Add the numerator and denominator of each sample; a None is counted as skipped."""
        numerators, denominators = columns_of(parts)
        self.numerators.append(numerators)
        self.denominators.append(denominators)
        self.skipped += len(parts) - len(numerators)

    def tally(self) -> tuple[Tensor, Tensor, int]:
        """Return numerators and denominators of all samples used, (N,) each, and the number of samples skipped."""
        empty = [torch.zeros(0, dtype=torch.double)]
        return dim_zero_cat(self.numerators or empty), dim_zero_cat(self.denominators or empty), int(self.skipped)

    def compute(self) -> Tensor:
        """Return the ratio, NaN if nothing was counted."""
        numerators, denominators, _ = self.tally()
        return numerators.sum() / denominators.sum()

    def measures(self) -> list[MetricValue]:
        """Return the ratio with its interval, the sum of the denominators, and the number of samples skipped."""
        numerators, denominators, skipped = self.tally()
        low, high = ratio_interval(numerators, denominators)
        used, label = len(numerators), self.label
        value = float(numerators.sum() / denominators.sum())
        measures = [MetricValue(label.name, value, used, label.unit, label.higher_is_better, low, high)]
        if self.weight is not None:
            measures.append(MetricValue(f"{label.name}.{self.weight}", float(denominators.sum()), used, self.weight))
        return [*measures, MetricValue(label.name + SKIPPED, float(skipped), used + skipped, "items", False)]

    def measure_names(self) -> set[str]:
        """Return the names of the ratio, its weight, and the samples skipped."""
        weight = set() if self.weight is None else {f"{self.label.name}.{self.weight}"}
        return {self.label.name, self.label.name + SKIPPED} | weight


def ratio_of(part: NumeratorAndDenominator) -> float | None:
    """Divide the numerator of one item by its denominator; None if there is no such ratio."""
    return None if part is None or part[1] == 0 else part[0] / part[1]


class RatioMetric(SummedMetric):
    """A ratio of sums; each subclass computes what one sample adds to the two sums."""

    @abstractmethod
    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return what a sample adds to the two sums, None if it cannot be used."""

    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples; those that cannot be used are counted as skipped."""
        self.add_parts([self.numerator_and_denominator(sample) for sample in samples])

    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """Return the ratio of one sample."""
        return {self.label.name: ratio_of(self.numerator_and_denominator(sample))}


class CorpusMetric(SummedMetric):
    """A ratio of sums to which a sample adds how one trait of it, such as its text, compares with all other samples."""

    traits: list[Any]

    def __init__(self, judge: str | None = None) -> None:
        super().__init__(judge)
        self.add_state("traits", [], dist_reduce_fx="cat")

    @abstractmethod
    def trait_of(self, sample: SpokenSample) -> Any:
        """Return the trait of a sample as a JSON value, None if it has none."""

    @abstractmethod
    def numerators_and_denominators(self, traits: list[Any]) -> list[NumeratorAndDenominator]:
        """Return what each sample adds to the two sums, given the traits of all; None if it cannot be used."""

    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples; numerators and denominators are computed when all samples are known."""
        self.traits += [self.trait_of(sample) for sample in samples]

    def tally(self) -> tuple[Tensor, Tensor, int]:
        """Return numerators, denominators and samples skipped, of stored values and of the traits."""
        numerators, denominators, skipped = super().tally()
        own_numerators, own_denominators = columns_of(self.numerators_and_denominators(self.traits))
        skipped += len(self.traits) - len(own_numerators)
        return torch.cat([numerators, own_numerators]), torch.cat([denominators, own_denominators]), skipped

    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """Return None: a sample alone has no value."""
        return {self.label.name: None}
