"""Metrics: a pure function for one item, and sums over items with torchmetrics."""

from evaluation.metrics import conformance as conformance  # registers the checks of the contract
from evaluation.metrics.answers import SpokenAnswerAccuracy, WrittenAnswerAccuracy, holds_answer
from evaluation.metrics.behaviour import FreeRunningMelError, LengthRatio, StoppedShare, TeacherForcedMelError, mel_distance
from evaluation.metrics.bootstrap import PairedDifference, Parts, bootstrap_interval, paired_bootstrap
from evaluation.metrics.contracts import RatioMetric, SpokenMetric
from evaluation.metrics.copies import MelDistance, StftDistance
from evaluation.metrics.names import MetricName
from evaluation.metrics.normalizer import NORMALIZER_VERSION, normalize
from evaluation.metrics.perplexity import LogPerplexity
from evaluation.metrics.similarity import SpeakerSimilarity, voice_similarity
from evaluation.metrics.word_errors import PromptWordErrorRate, SpeechWordErrorRate, word_errors

__all__ = [
    "NORMALIZER_VERSION",
    "FreeRunningMelError",
    "LengthRatio",
    "LogPerplexity",
    "MelDistance",
    "MetricName",
    "PairedDifference",
    "Parts",
    "PromptWordErrorRate",
    "RatioMetric",
    "SpeakerSimilarity",
    "SpeechWordErrorRate",
    "SpokenAnswerAccuracy",
    "SpokenMetric",
    "StftDistance",
    "StoppedShare",
    "TeacherForcedMelError",
    "WrittenAnswerAccuracy",
    "all_metrics",
    "bootstrap_interval",
    "holds_answer",
    "mel_distance",
    "normalize",
    "paired_bootstrap",
    "voice_similarity",
    "word_errors",
]


def all_metrics() -> list[SpokenMetric]:
    """One of each metric of a system that continues speech, with its defaults, in the order in which they are shown."""
    return [
        SpokenAnswerAccuracy(),
        WrittenAnswerAccuracy(),
        SpeechWordErrorRate(),
        PromptWordErrorRate(),
        LogPerplexity(),
        SpeakerSimilarity(),
        StoppedShare(),
        LengthRatio(),
        FreeRunningMelError(),
        TeacherForcedMelError(),
    ]
