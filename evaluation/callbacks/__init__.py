"""Callbacks that evaluate during and after training."""

from evaluation.callbacks.panel_evaluation import PanelEvaluation
from evaluation.callbacks.speech_evaluation import SpeechEvaluation
from evaluation.callbacks.vocoder_evaluation import VocoderEvaluation

__all__ = ["PanelEvaluation", "SpeechEvaluation", "VocoderEvaluation"]
