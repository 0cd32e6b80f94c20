"""Evaluation of a system: it answers the prompts, the judges assess the answers, and the metrics are computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from spectron.batch import SpeechBatch
from spectron.contracts import SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.judges import Judges
from spectron.evaluation.metrics import SpokenMetric, SummedMetric
from spectron.evaluation.sample import SpokenSample
from spectron.evaluation.systems.answering import TeacherForcing, answer
from spectron.tracking.measure import MetricValue

M = TypeVar("M", bound=SpokenMetric)


@dataclass
class Judged:
    """Judged samples and their metrics; the names of the metrics have no prefix yet."""

    samples: list[SpokenSample]
    measures: list[MetricValue]

    def named(self, prefix: str) -> list[MetricValue]:
        """Return the metrics under a prefix such as ``val/``."""
        return [replace(measure, name=prefix + measure.name) for measure in self.measures]


def judge_system(
    system: SpokenLanguageModel,
    batches: list[SpeechBatch],
    decoding: Decoding,
    judges: Judges,
    metrics: list[SpokenMetric],
    device: torch.device,
    teacher_forced: TeacherForcing | None = None,
) -> Judged:
    """Let a system answer all prompts, let each judge assess the answers once, and compute the metrics.

    Args:
        system: The system under test, on ``device`` and in evaluation mode.
        batches: Prompts with references, on any device.
        decoding: How the system generates.
        judges: The judges; each is on ``device`` only while it works.
        metrics: Metrics to compute; they are reset first.
        device: Device of system and judges.
        teacher_forced: Predicts the spectrogram (B, T, M) from the true past, with its (B,) valid frames.

    Raises:
        ConfigError: if a metric needs evidence that no judge gives.
    """
    require_judges(metrics, judges)
    samples = answer(system, batches, decoding, device, teacher_forced)
    consult(samples, judges, device)
    measures = [measure for metric in metrics for measure in measure_samples(metric, samples)]
    return Judged(samples, measures + measures_by_split(samples, metrics))


def measure_samples(metric: SpokenMetric, samples: list[SpokenSample]) -> list[MetricValue]:
    """Compute a metric of these samples alone."""
    metric.reset()
    metric.update(samples)
    return metric.measures()


def measures_by_split(samples: list[SpokenSample], metrics: list[SpokenMetric]) -> list[MetricValue]:
    """Compute the first value of each ``by_split`` metric for each split, as ``<name>/<split>``; none for one split."""
    splits = sorted({sample.split for sample in samples})
    if len(splits) < 2:
        return []
    measures = []
    for metric in metrics:
        for split in splits if metric.by_split else []:
            measure = measure_samples(metric, [sample for sample in samples if sample.split == split])[0]
            measures.append(replace(measure, name=f"{measure.name}/{split}"))
    return measures


def require_judges(metrics: Sequence[SpokenMetric], judges: Judges) -> None:
    """Refuse metrics that need evidence that no judge gives, or that name a judge without such evidence.

    Raises:
        ConfigError: with the key ``metrics.<place>.judge`` if the metric names the wrong judge, else ``metrics``.
    """
    for place, metric in enumerate(metrics):
        try:
            judges.require(type(metric).__name__, metric.needs, metric.judge)
        except ConfigError as error:
            raise error.within(f"metrics.{place}.init_args" if error.key else "metrics") from error


def metrics_served(metrics: Iterable[M], judges: Judges) -> list[M]:
    """Return the metrics whose evidence the judges give.

    Each metric reads the first judge of its evidence. It is followed by one more of its kind for every further judge
    that gives such evidence, whose name its own name ends with: a second recogniser gives a second word error rate.
    """
    served = []
    for metric in metrics:
        if all(judges.giving(kind) for kind in metric.needs):
            further = {name: None for kind in sorted(metric.needs) for name in judges.giving(kind)[1:]}
            served += [metric, *(type(metric)(judge=name) for name in further)]
    return served


def absent_evidence(metrics: Sequence[SummedMetric], judges: Judges) -> dict[str, str]:
    """Return why metrics have no evidence, by their names: the weights of the judge that they read are missing."""
    absent = judges.absent()
    found = {}
    for metric in metrics:
        for source in [judges.source(kind, metric.judge) for kind in sorted(metric.needs)]:
            if source in absent:
                found[metric.label.name] = absent[source]
    return found


def consult(samples: list[SpokenSample], judges: Judges, device: torch.device) -> None:
    """Let every judge add its evidence to the samples."""
    for sample in samples:
        # In the order of the YAML, whichever judge works first: without a named judge, the first one is read.
        sample.evidence = {name: dict.fromkeys(sorted(judge.gives)) for name, judge in judges.items()}
    for name in judges.working_order():
        judges[name].fill(samples, name, device)
