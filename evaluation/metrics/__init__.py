"""Metrics: a pure function for one item, and sums over items with torchmetrics."""

from evaluation.metrics import metric_checks as metric_checks  # registers the checks of the contract
from evaluation.metrics.answers import SpokenAnswerAccuracy, WrittenAnswerAccuracy, holds_answer
from evaluation.metrics.behaviour import FreeRunningMelError, LengthRatio, SpeakingRate, StoppedShare, TeacherForcedMelError, mel_distance
from evaluation.metrics.cepstra import MelCepstralDistance
from evaluation.metrics.copies import MelDistance, StftDistance
from evaluation.metrics.diversity import AutoBleu, SelfBleu, auto_bleu, self_bleu
from evaluation.metrics.intervals import PairedDifference, Parts, bootstrap_interval, paired_bootstrap, ratio_interval
from evaluation.metrics.metric import CorpusMetric, RatioMetric, SpokenMetric, SummedMetric
from evaluation.metrics.names import MetricName
from evaluation.metrics.normalizer import NORMALIZER_VERSION, normalize
from evaluation.metrics.perplexity import LogPerplexity
from evaluation.metrics.pitch import PitchError, pitch_error
from evaluation.metrics.quality import PredictedMos
from evaluation.metrics.similarity import SecondSpeakerSimilarity, SpeakerSimilarity, SpeakerSimilarityMargin, voice_similarity
from evaluation.metrics.word_errors import (
    PromptCharacterErrorRate,
    PromptWordErrorRate,
    SpeechCharacterErrorRate,
    SpeechWordErrorRate,
    character_errors,
    word_errors,
)

__all__ = [
    "NORMALIZER_VERSION",
    "AutoBleu",
    "CorpusMetric",
    "FreeRunningMelError",
    "LengthRatio",
    "LogPerplexity",
    "MelCepstralDistance",
    "MelDistance",
    "MetricName",
    "PairedDifference",
    "Parts",
    "PitchError",
    "PredictedMos",
    "PromptCharacterErrorRate",
    "PromptWordErrorRate",
    "RatioMetric",
    "SecondSpeakerSimilarity",
    "SelfBleu",
    "SpeakerSimilarity",
    "SpeakerSimilarityMargin",
    "SpeakingRate",
    "SpeechCharacterErrorRate",
    "SpeechWordErrorRate",
    "SpokenAnswerAccuracy",
    "SpokenMetric",
    "StftDistance",
    "StoppedShare",
    "SummedMetric",
    "TeacherForcedMelError",
    "WrittenAnswerAccuracy",
    "all_metrics",
    "auto_bleu",
    "bootstrap_interval",
    "character_errors",
    "holds_answer",
    "mel_distance",
    "normalize",
    "paired_bootstrap",
    "pitch_error",
    "ratio_interval",
    "self_bleu",
    "voice_similarity",
    "word_errors",
]


def all_metrics() -> list[SpokenMetric]:
    """One of each metric of a system that continues speech freely, with its defaults, in the order in which they are shown.

    Those that compare speech with a recording of the same words are not among them.
    """
    return [
        SpokenAnswerAccuracy(),
        WrittenAnswerAccuracy(),
        SpeechWordErrorRate(),
        SpeechCharacterErrorRate(),
        PromptWordErrorRate(),
        PromptCharacterErrorRate(),
        LogPerplexity(),
        AutoBleu(),
        SelfBleu(),
        SpeakerSimilarity(),
        SpeakerSimilarityMargin(),
        SecondSpeakerSimilarity(),
        PredictedMos(),
        StoppedShare(),
        LengthRatio(),
        SpeakingRate(),
        FreeRunningMelError(),
        TeacherForcedMelError(),
    ]
