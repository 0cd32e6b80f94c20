"""Callbacks that evaluate during and after training."""

from evaluation.callbacks.speech_evaluation import SpeechEvaluation

__all__ = ["SpeechEvaluation"]
