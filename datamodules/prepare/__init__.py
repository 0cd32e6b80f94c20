"""Preparation of manifests: training corpora, test sets, and likelihood pairs."""

from spectron.datamodules.prepare.corpora import prepare_folder, prepare_synthetic
from spectron.datamodules.prepare.librispeech import prepare_librispeech
from spectron.datamodules.prepare.likelihood_pairs import prepare_pairs
from spectron.datamodules.prepare.questions import prepare_llama_questions, prepare_questions

__all__ = [
    "prepare_folder",
    "prepare_librispeech",
    "prepare_llama_questions",
    "prepare_pairs",
    "prepare_questions",
    "prepare_synthetic",
]
