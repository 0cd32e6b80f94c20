"""Judges: recognisers, text scorers, speaker encoders and quality predictors, independent of the model under test."""

from spectron.evaluation.judges import judge_checks as judge_checks
from spectron.evaluation.judges.collection import Judges
from spectron.evaluation.judges.independence import require_independence
from spectron.evaluation.judges.judge import (
    Judge,
    QualityPredictor,
    SpeakerEmbedder,
    SpeechJudge,
    TextScorer,
    Transcriber,
)
from spectron.evaluation.judges.pretrained_embedders import SpeechBrainSpeakerEmbedder, TransformersSpeakerEmbedder
from spectron.evaluation.judges.quality_predictors import DNSMOSPredictor
from spectron.evaluation.judges.speaker_embedders import ResemblyzerEmbedder
from spectron.evaluation.judges.text_scorers import TransformersTextScorer
from spectron.evaluation.judges.transcribers import CTCTranscriber, PocketSphinxTranscriber
from spectron.evaluation.judges.transformers_transcriber import TransformersTranscriber

__all__ = [
    "CTCTranscriber",
    "DNSMOSPredictor",
    "Judge",
    "Judges",
    "PocketSphinxTranscriber",
    "QualityPredictor",
    "ResemblyzerEmbedder",
    "SpeakerEmbedder",
    "SpeechBrainSpeakerEmbedder",
    "SpeechJudge",
    "TextScorer",
    "Transcriber",
    "TransformersSpeakerEmbedder",
    "TransformersTextScorer",
    "TransformersTranscriber",
    "require_independence",
]
