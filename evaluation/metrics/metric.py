"""What a metric of spoken samples must do. A user's own metric subclasses one of these and is named by ``class_path`` in a YAML."""

from __future__ import annotations

from abc import abstractmethod
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

    Attributes:
        needs: Judges without which it cannot be computed: ``transcriber``, ``text_scorer``, ``speaker_embedder``,
            ``second_speaker_embedder``, ``quality_predictor``.
        skips: Why a sample is skipped, in words for a report, such as "no word was heard".
        judges_speech: Whether it looks at the sound of the speech alone, and so also makes sense for a recording.
        by_split: Whether it is also given for each part of the data that a panel covers, such as voices and facts never trained on.
    """

    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    skips: ClassVar[str] = "the metric cannot use them"
    judges_speech: ClassVar[bool] = False
    by_split: ClassVar[bool] = False

    def __init__(self) -> None:
        # One rank judges the panel and the others wait: reaching for them here would wait for ever.
        super().__init__(sync_on_compute=False)

    @abstractmethod
    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples."""

    @abstractmethod
    def measures(self) -> list[MetricValue]:
        """What was measured, with counts and intervals; the value is NaN where no sample could be used."""

    @abstractmethod
    def measure_names(self) -> set[str]:
        """Names of all that ``measures`` may give."""

    @abstractmethod
    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """Values of one sample alone, None where it cannot be used."""


class SummedMetric(SpokenMetric):
    """A sum over samples divided by a sum over samples, from the parts of each sample.

    Parts that were stored can be added again: the measures are then those of the samples that they came from.

    Attributes:
        label: Name, unit and direction.
        weight: What the denominators count, such as ``words``, where that is not the samples themselves.
    """

    label: MetricSpec
    weight: ClassVar[str | None] = None
    numerators: list[Tensor]
    denominators: list[Tensor]
    skipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("numerators", [], dist_reduce_fx="cat")
        self.add_state("denominators", [], dist_reduce_fx="cat")
        self.add_state("skipped", torch.tensor(0), dist_reduce_fx="sum")

    def add_parts(self, parts: list[NumeratorAndDenominator]) -> None:
        """Add numerators and denominators, a pair a sample; a None is counted as skipped."""
        numerators, denominators = columns_of(parts)
        self.numerators.append(numerators)
        self.denominators.append(denominators)
        self.skipped += len(parts) - len(numerators)

    def tally(self) -> tuple[Tensor, Tensor, int]:
        """Numerators and denominators of all samples used, (N,) each, and how many were skipped."""
        empty = [torch.zeros(0, dtype=torch.double)]
        return dim_zero_cat(self.numerators or empty), dim_zero_cat(self.denominators or empty), int(self.skipped)

    def compute(self) -> Tensor:
        """The ratio, NaN where nothing was counted."""
        numerators, denominators, _ = self.tally()
        return numerators.sum() / denominators.sum()

    def measures(self) -> list[MetricValue]:
        """The ratio with its interval, what the denominators add up to, and the samples skipped."""
        numerators, denominators, skipped = self.tally()
        low, high = ratio_interval(numerators, denominators)
        used, label = len(numerators), self.label
        value = float(numerators.sum() / denominators.sum())
        measures = [MetricValue(label.name, value, used, label.unit, label.higher_is_better, low, high)]
        if self.weight is not None:
            measures.append(MetricValue(f"{label.name}.{self.weight}", float(denominators.sum()), used, self.weight))
        return [*measures, MetricValue(label.name + SKIPPED, float(skipped), used + skipped, "items", False)]

    def measure_names(self) -> set[str]:
        """The ratio, its weight, and the samples skipped."""
        weight = set() if self.weight is None else {f"{self.label.name}.{self.weight}"}
        return {self.label.name, self.label.name + SKIPPED} | weight


def ratio_of(part: NumeratorAndDenominator) -> float | None:
    """Numerator by denominator of one item, None where there is no such ratio."""
    return None if part is None or part[1] == 0 else part[0] / part[1]


class RatioMetric(SummedMetric):
    """A ratio of sums to which each sample adds what it holds itself; each subclass says what."""

    @abstractmethod
    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Numerator and denominator of a sample, None where it cannot be used."""

    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples; those that cannot be used are counted."""
        self.add_parts([self.numerator_and_denominator(sample) for sample in samples])

    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """The ratio of one sample."""
        return {self.label.name: ratio_of(self.numerator_and_denominator(sample))}


class CorpusMetric(SummedMetric):
    """A ratio of sums to which a sample adds what one trait of it, such as its text, is among those of all samples."""

    traits: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("traits", [], dist_reduce_fx="cat")

    @abstractmethod
    def trait_of(self, sample: SpokenSample) -> Any:
        """The trait of a sample as JSON can hold it, None where it has none."""

    @abstractmethod
    def numerators_and_denominators(self, traits: list[Any]) -> list[NumeratorAndDenominator]:
        """Numerator and denominator of each among them all, None where it cannot be used."""

    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples; what each adds to the sums is known when all are there."""
        self.traits += [self.trait_of(sample) for sample in samples]

    def tally(self) -> tuple[Tensor, Tensor, int]:
        """Numerators, denominators and samples skipped, of parts added and of the traits."""
        numerators, denominators, skipped = super().tally()
        own_numerators, own_denominators = columns_of(self.numerators_and_denominators(self.traits))
        skipped += len(self.traits) - len(own_numerators)
        return torch.cat([numerators, own_numerators]), torch.cat([denominators, own_denominators]), skipped

    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """None: a sample alone has no value."""
        return {self.label.name: None}
