"""Judging a system: it answers the prompts, the judges look at the answers, the metrics count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from evaluation.answering import TeacherForcing, answer
from evaluation.judges import Judge, SpeakerEmbedder, TextScorer, Transcriber
from evaluation.metrics import SpokenMetric
from evaluation.sample import SpokenSample
from spectron.batch import SpeechBatch
from spectron.contracts import Decoding, SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.tracking import Measure

LEAST_SECONDS = 0.1  # speech shorter than this holds no word and no voice, and is below what front ends accept
JUDGED_SECONDS = 120.0  # speech that a judge takes at a time
JUDGED_TEXTS = 32  # texts that a judge takes at a time


@dataclass
class Judges:
    """The judges at hand."""

    transcriber: Transcriber | None = None
    text_scorer: TextScorer | None = None
    speaker_embedder: SpeakerEmbedder | None = None

    def present(self) -> dict[str, Judge]:
        """Those that are there, by name."""
        return {name: judge for name, judge in vars(self).items() if judge is not None}

    def serve(self, metric: SpokenMetric) -> bool:
        """Whether the metric has all the judges that it needs."""
        return metric.needs <= self.present().keys()


@dataclass
class Judged:
    """Judged samples and what the metrics make of them; the measures' names have no prefix yet."""

    samples: list[SpokenSample]
    measures: list[Measure]

    def named(self, prefix: str) -> list[Measure]:
        """The measures under a prefix such as ``val/``."""
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
    """Let a system answer all prompts, let each judge look once, and compute the metrics.

    Args:
        system: The system under test, on ``device`` and in evaluation mode.
        batches: Prompts with references, on any device.
        decoding: How it generates.
        judges: The judges at hand; each is on ``device`` only while it works.
        metrics: What to compute; earlier content is forgotten.
        device: Where everything runs.
        teacher_forced: Gives the spectrogram (B, T, M) predicted from the true past, and its (B,) valid frames.

    Raises:
        ConfigError: if a metric needs a judge that is not there.
    """
    require_judges(metrics, judges)
    samples = answer(system, batches, decoding, device, teacher_forced)
    consult(samples, judges, device)
    measures = [measure for metric in metrics for measure in measure_samples(metric, samples)]
    return Judged(samples, measures + measures_by_split(samples, metrics))


def measure_samples(metric: SpokenMetric, samples: list[SpokenSample]) -> list[Measure]:
    """What a metric makes of these samples alone."""
    metric.reset()
    metric.update(samples)
    return metric.measures()


def measures_by_split(samples: list[SpokenSample], metrics: list[SpokenMetric]) -> list[Measure]:
    """The first measure of the metrics that ask for it, for each split, as ``<name>/<split>``; none where there is one split only."""
    splits = sorted({sample.split for sample in samples})
    if len(splits) < 2:
        return []
    measures = []
    for metric in metrics:
        for split in splits if metric.by_split else []:
            measure = measure_samples(metric, [sample for sample in samples if sample.split == split])[0]
            measures.append(replace(measure, name=f"{measure.name}/{split}"))
    return measures


def require_judges(metrics: list[SpokenMetric], judges: Judges) -> None:
    """Refuse metrics that lack a judge."""
    for metric in metrics:
        if missing := sorted(metric.needs - judges.present().keys()):
            name = type(metric).__name__
            raise ConfigError(f"the metric {name} needs a judge that is not given: set {' and '.join(missing)}, or leave {name} out")


def consult(samples: list[SpokenSample], judges: Judges, device: torch.device) -> None:
    """Let every judge at hand fill in its part of the samples."""
    if judges.transcriber is not None:
        hear(samples, judges.transcriber, device)
    if judges.text_scorer is not None:
        score(samples, judges.text_scorer, device)
    if judges.speaker_embedder is not None:
        recognise(samples, judges.speaker_embedder, device)


def hear(samples: list[SpokenSample], transcriber: Transcriber, device: torch.device) -> None:
    """Fill in what is heard in the generated speech."""
    for sample in samples:
        sample.heard = ""
    with transcriber.at_work(device):
        for group in alike([sample for sample in samples if sample.generated_seconds >= LEAST_SECONDS], lambda s: s.generated_seconds):
            texts = transcriber.transcribe([sample.generated for sample in group], group[0].speech_rate_hz)
            for sample, text in zip(group, texts, strict=True):
                sample.heard = text


def score(samples: list[SpokenSample], scorer: TextScorer, device: torch.device) -> None:
    """Fill in how likely what was heard is."""
    heard = sorted((sample for sample in samples if sample.heard is not None), key=lambda sample: len(sample.heard or ""))
    with scorer.at_work(device):
        for start in range(0, len(heard), JUDGED_TEXTS):
            group = heard[start : start + JUDGED_TEXTS]
            for sample, (nll_nats, num_tokens) in zip(group, scorer.score([sample.heard or "" for sample in group]), strict=True):
                sample.nll_nats, sample.num_tokens = nll_nats, num_tokens


def recognise(samples: list[SpokenSample], embedder: SpeakerEmbedder, device: torch.device) -> None:
    """Fill in the voices of prompts and generated speech."""
    with embedder.at_work(device):
        for group in alike(samples, lambda s: len(s.prompt) / s.prompt_rate_hz):
            embeddings = embedder.embed([sample.prompt for sample in group], group[0].prompt_rate_hz).cpu()
            for sample, embedding in zip(group, embeddings, strict=True):
                sample.prompt_embedding = embedding
        for group in alike([sample for sample in samples if sample.generated_seconds >= LEAST_SECONDS], lambda s: s.generated_seconds):
            embeddings = embedder.embed([sample.generated for sample in group], group[0].speech_rate_hz).cpu()
            for sample, embedding in zip(group, embeddings, strict=True):
                sample.generated_embedding = embedding


def alike(samples: list[SpokenSample], seconds: Callable[[SpokenSample], float]) -> Iterator[list[SpokenSample]]:
    """Groups of samples of similar length, none longer than a judge takes at a time once it is padded."""
    group: list[SpokenSample] = []
    for sample in sorted(samples, key=seconds):
        if group and seconds(sample) * (len(group) + 1) > JUDGED_SECONDS:
            yield group
            group = []
        group.append(sample)
    if group:
        yield group
