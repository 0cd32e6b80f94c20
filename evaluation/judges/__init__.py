"""Judges: recognisers, text scorers and speaker encoders that have no share in the model under test."""

from evaluation.judges import conformance as conformance  # registers the checks of the contract
from evaluation.judges.contracts import Judge, SpeakerEmbedder, TextScorer, Transcriber
from evaluation.judges.independence import require_independence
from evaluation.judges.speaker_embedders import ResemblyzerEmbedder
from evaluation.judges.text_scorers import TransformersTextScorer
from evaluation.judges.transcribers import CTCTranscriber, PocketSphinxTranscriber

__all__ = [
    "CTCTranscriber",
    "Judge",
    "PocketSphinxTranscriber",
    "ResemblyzerEmbedder",
    "SpeakerEmbedder",
    "TextScorer",
    "Transcriber",
    "TransformersTextScorer",
    "require_independence",
]
