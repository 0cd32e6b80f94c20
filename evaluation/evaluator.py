"""Judging a system: it answers the prompts, the judges look at the answers, the metrics count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from spectron.batch import SpeechBatch
from spectron.contracts import Decoding, SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.evaluation.judges import Judge, QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber
from spectron.evaluation.judges.chunking import LEAST_SECONDS, TOGETHER_SECONDS, alike
from spectron.evaluation.metrics import SpokenMetric
from spectron.evaluation.sample import SpokenSample
from spectron.evaluation.systems.answering import TeacherForcing, answer
from spectron.tracking.measure import MetricValue

JUDGED_TEXTS = 32  # texts that a judge takes at a time


@dataclass
class Judges:
    """The judges at hand.

    Args:
        transcriber: Writes down what is heard.
        text_scorer: Judges what was written down.
        speaker_embedder: Tells voices.
        second_speaker_embedder: Tells voices in another way: a model may please one embedder more than listeners.
        quality_predictor: Predicts what listeners would think of the sound; alone among the judges its weights may be absent.
    """

    transcriber: Transcriber | None = None
    text_scorer: TextScorer | None = None
    speaker_embedder: SpeakerEmbedder | None = None
    second_speaker_embedder: SpeakerEmbedder | None = None
    quality_predictor: QualityPredictor | None = None

    def present(self) -> dict[str, Judge]:
        """Those that are there, by name."""
        return {name: judge for name, judge in vars(self).items() if judge is not None}

    def absent(self) -> dict[str, str]:
        """Why the weights of judges that may be absent are not here, by name."""
        why = None if self.quality_predictor is None else self.quality_predictor.missing()
        return {} if why is None else {"quality_predictor": why}

    def serve(self, metric: SpokenMetric) -> bool:
        """Whether the metric has all the judges that it needs."""
        return metric.needs <= self.present().keys()


@dataclass
class Judged:
    """Judged samples and what the metrics make of them; the measures' names have no prefix yet."""

    samples: list[SpokenSample]
    measures: list[MetricValue]

    def named(self, prefix: str) -> list[MetricValue]:
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


def measure_samples(metric: SpokenMetric, samples: list[SpokenSample]) -> list[MetricValue]:
    """What a metric makes of these samples alone."""
    metric.reset()
    metric.update(samples)
    return metric.measures()


def measures_by_split(samples: list[SpokenSample], metrics: list[SpokenMetric]) -> list[MetricValue]:
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


def require_judges(metrics: Sequence[SpokenMetric], judges: Judges) -> None:
    """Refuse metrics that lack a judge."""
    for metric in metrics:
        if missing := sorted(metric.needs - judges.present().keys()):
            name = type(metric).__name__
            raise ConfigError(
                f"the metric {name} needs a judge that is not given: set {' and '.join(missing)}, or leave {name} out"
            )


def consult(samples: list[SpokenSample], judges: Judges, device: torch.device) -> None:
    """Let every judge at hand fill in its part of the samples."""
    if judges.transcriber is not None:
        hear(samples, judges.transcriber, device)
    if judges.text_scorer is not None:
        score(samples, judges.text_scorer, device)
    if judges.speaker_embedder is not None:
        recognise(samples, judges.speaker_embedder, device)
    if judges.second_speaker_embedder is not None:
        recognise(samples, judges.second_speaker_embedder, device, prefix="second_")
    if judges.quality_predictor is not None:
        rate(samples, judges.quality_predictor, device)


def hear(samples: list[SpokenSample], transcriber: Transcriber, device: torch.device) -> None:
    """Fill in what is heard in the generated speech."""
    for sample in samples:
        sample.heard = ""
    with transcriber.at_work(device):
        for group, speech, rate_hz in spoken(samples):
            for sample, text in zip(group, transcriber.transcribe(speech, rate_hz), strict=True):
                sample.heard = text


def score(samples: list[SpokenSample], scorer: TextScorer, device: torch.device) -> None:
    """Fill in how likely what was heard is."""
    heard = sorted(
        (sample for sample in samples if sample.heard is not None), key=lambda sample: len(sample.heard or "")
    )
    with scorer.at_work(device):
        for start in range(0, len(heard), JUDGED_TEXTS):
            group = heard[start : start + JUDGED_TEXTS]
            for sample, (nll_nats, num_tokens) in zip(
                group, scorer.score([sample.heard or "" for sample in group]), strict=True
            ):
                sample.nll_nats, sample.num_tokens = nll_nats, num_tokens


def recognise(samples: list[SpokenSample], embedder: SpeakerEmbedder, device: torch.device, prefix: str = "") -> None:
    """Fill in the voices of prompts and generated speech: the embeddings' fields of a sample whose names begin with ``prefix``."""
    with embedder.at_work(device):
        for kind, groups in (("prompt", prompted(samples)), ("generated", spoken(samples))):
            for group, speech, rate_hz in groups:
                for sample, embedding in zip(group, embedder.embed(speech, rate_hz).cpu(), strict=True):
                    setattr(sample, f"{prefix}{kind}_embedding", embedding)


def rate(samples: list[SpokenSample], predictor: QualityPredictor, device: torch.device) -> None:
    """Fill in what listeners would think of the generated speech, unless the predictor is not here."""
    if (why := predictor.missing()) is not None:
        rank_zero_warn(f"no opinion score is predicted: {why}")
        return
    with predictor.at_work(device):
        for group, speech, rate_hz in spoken(samples):
            for sample, mos in zip(group, predictor.rate(speech, rate_hz), strict=True):
                sample.predicted_mos = mos


Group = tuple[list[SpokenSample], list[Tensor], int]


def prompted(samples: list[SpokenSample]) -> Iterator[Group]:
    """Samples in groups that a judge takes at a time, with their prompts and these prompts' sample rate."""
    yield from grouped(samples, lambda sample: sample.prompt, lambda sample: sample.prompt_rate_hz)


def spoken(samples: list[SpokenSample]) -> Iterator[Group]:
    """The same with the generated speech; samples with too little of it for any judge are left out."""
    enough = [sample for sample in samples if sample.generated_seconds >= LEAST_SECONDS]
    yield from grouped(enough, lambda sample: sample.generated, lambda sample: sample.speech_rate_hz)


def grouped(
    samples: list[SpokenSample], speech: Callable[[SpokenSample], Tensor], rate_hz: Callable[[SpokenSample], int]
) -> Iterator[Group]:
    """Groups of one sample rate and similar length."""
    for rate in sorted({rate_hz(sample) for sample in samples}):
        alike_rate = [sample for sample in samples if rate_hz(sample) == rate]
        for places in alike([len(speech(sample)) for sample in alike_rate], int(TOGETHER_SECONDS * rate)):
            group = [alike_rate[place] for place in places]
            yield group, [speech(sample) for sample in group], rate
