"""Metrics: pure functions for one item, and their sums over items with torchmetrics."""

from spectron.evaluation.metrics import metric_checks as metric_checks
from spectron.evaluation.metrics.answers import SpokenAnswerAccuracy, WrittenAnswerAccuracy, holds_answer
from spectron.evaluation.metrics.behaviour import (
    FreeRunningMelError,
    LengthRatio,
    SpeakingRate,
    StoppedShare,
    TeacherForcedMelError,
    TextStoppedShare,
    mel_distance,
)
from spectron.evaluation.metrics.cepstra import MelCepstralDistance
from spectron.evaluation.metrics.copies import MelDistance, StftDistance
from spectron.evaluation.metrics.diversity import AutoBleu, SelfBleu, auto_bleu, self_bleu
from spectron.evaluation.metrics.intervals import (
    NumeratorAndDenominator,
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap,
    ratio_interval,
)
from spectron.evaluation.metrics.metric import CorpusMetric, RatioMetric, SpokenMetric, SummedMetric
from spectron.evaluation.metrics.names import MetricSpec
from spectron.evaluation.metrics.normalizer import NORMALIZER_VERSION, normalize
from spectron.evaluation.metrics.perplexity import LogPerplexity
from spectron.evaluation.metrics.pitch import PitchError, pitch_error
from spectron.evaluation.metrics.quality import PredictedMos
from spectron.evaluation.metrics.similarity import (
    SpeakerSimilarity,
    SpeakerSimilarityMargin,
    voice_similarity,
)
from spectron.evaluation.metrics.word_errors import (
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
    "MetricSpec",
    "NumeratorAndDenominator",
    "PairedDifference",
    "PitchError",
    "PredictedMos",
    "PromptCharacterErrorRate",
    "PromptWordErrorRate",
    "RatioMetric",
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
    "TextStoppedShare",
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
    """Return all metrics of a system that continues speech freely, with their defaults, in the order of the tables.

    Metrics that compare speech with a recording of the same words are not included.
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
        PredictedMos(),
        StoppedShare(),
        TextStoppedShare(),
        LengthRatio(),
        SpeakingRate(),
        FreeRunningMelError(),
        TeacherForcedMelError(),
    ]
