"""What a metric of spoken samples must do. A user's own metric subclasses one of these and is named by ``class_path`` in a YAML."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from evaluation.metrics.bootstrap import bootstrap_interval
from evaluation.metrics.names import SKIPPED, MetricName
from evaluation.sample import SpokenSample
from spectron.tracking import Measure


class SpokenMetric(Metric):
    """A torchmetrics metric over judged samples.

    Attributes:
        needs: Judges without which it cannot be computed: ``transcriber``, ``text_scorer``, ``speaker_embedder``.
        judges_speech: Whether it looks at the sound of the speech alone, and so also makes sense for a recording.
        by_split: Whether it is also given for each part of the data that a panel covers, such as voices and facts never trained on.
    """

    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    judges_speech: ClassVar[bool] = False
    by_split: ClassVar[bool] = False

    def __init__(self) -> None:
        # One rank judges the panel and the others wait: reaching for them here would wait for ever.
        super().__init__(sync_on_compute=False)

    @abstractmethod
    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples."""

    @abstractmethod
    def measures(self) -> list[Measure]:
        """What was measured, with counts and intervals; the value is NaN where no sample could be used."""

    @abstractmethod
    def measure_names(self) -> set[str]:
        """Names of all that ``measures`` may give."""

    @abstractmethod
    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """Values of one sample alone, None where it cannot be used."""


class RatioMetric(SpokenMetric):
    """A sum over samples divided by a sum over samples; each subclass says what a sample adds to the two.

    Attributes:
        label: Name, unit and direction.
        weight: What the denominators count, such as ``words``, where that is not the samples themselves.
    """

    label: ClassVar[MetricName]
    weight: ClassVar[str | None] = None
    numerators: list[Tensor]
    denominators: list[Tensor]
    skipped: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("numerators", [], dist_reduce_fx="cat")
        self.add_state("denominators", [], dist_reduce_fx="cat")
        self.add_state("skipped", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def parts(self, sample: SpokenSample) -> tuple[float, float] | None:
        """Numerator and denominator of a sample, None where it cannot be used."""

    def update(self, samples: list[SpokenSample]) -> None:
        """Add judged samples; those that cannot be used are counted."""
        parts = [part for part in map(self.parts, samples) if part is not None]
        self.skipped += len(samples) - len(parts)
        if parts:
            sums = torch.tensor(parts, dtype=torch.double)
            self.numerators.append(sums[:, 0])
            self.denominators.append(sums[:, 1])

    def columns(self) -> tuple[Tensor, Tensor]:
        """Numerators and denominators of all samples used, (N,) each."""
        empty = [torch.zeros(0, dtype=torch.double)]
        return dim_zero_cat(self.numerators or empty), dim_zero_cat(self.denominators or empty)

    def compute(self) -> Tensor:
        """The ratio, NaN where nothing was counted."""
        numerators, denominators = self.columns()
        return numerators.sum() / denominators.sum()

    def measures(self) -> list[Measure]:
        """The ratio with its interval, what the denominators add up to, and the samples skipped."""
        numerators, denominators = self.columns()
        low, high = bootstrap_interval(numerators, denominators)
        used, total = len(numerators), len(numerators) + int(self.skipped)
        label = self.label
        value = float(numerators.sum() / denominators.sum())
        measures = [Measure(label.name, value, used, label.unit, label.higher_is_better, low, high)]
        if self.weight is not None:
            measures.append(Measure(f"{label.name}.{self.weight}", float(denominators.sum()), used, self.weight))
        return [*measures, Measure(label.name + SKIPPED, float(self.skipped), total, "items", False)]

    def measure_names(self) -> set[str]:
        """The ratio, its weight, and the samples skipped."""
        weight = set() if self.weight is None else {f"{self.label.name}.{self.weight}"}
        return {self.label.name, self.label.name + SKIPPED} | weight

    def scores(self, sample: SpokenSample) -> dict[str, float | None]:
        """The ratio of one sample."""
        part = self.parts(sample)
        return {self.label.name: None if part is None or part[1] == 0 else part[0] / part[1]}
