"""Judges: recognisers, text scorers, speaker encoders and quality predictors that have no share in the model under test."""

from evaluation.judges import judge_checks as judge_checks
from evaluation.judges.independence import require_independence
from evaluation.judges.judge import Judge, QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber
from evaluation.judges.pretrained_embedders import SpeechBrainSpeakerEmbedder, TransformersSpeakerEmbedder
from evaluation.judges.quality_predictors import DNSMOSPredictor
from evaluation.judges.speaker_embedders import ResemblyzerEmbedder
from evaluation.judges.text_scorers import TransformersTextScorer
from evaluation.judges.transcribers import CTCTranscriber, PocketSphinxTranscriber
from evaluation.judges.transformers_transcriber import TransformersTranscriber

__all__ = [
    "CTCTranscriber",
    "DNSMOSPredictor",
    "Judge",
    "PocketSphinxTranscriber",
    "QualityPredictor",
    "ResemblyzerEmbedder",
    "SpeakerEmbedder",
    "SpeechBrainSpeakerEmbedder",
    "TextScorer",
    "Transcriber",
    "TransformersSpeakerEmbedder",
    "TransformersTextScorer",
    "TransformersTranscriber",
    "require_independence",
]
