"""Callbacks that evaluate during and after training."""

from spectron.evaluation.callbacks.panel_evaluation import PanelEvaluation
from spectron.evaluation.callbacks.speech_evaluation import SpeechEvaluation
from spectron.evaluation.callbacks.vocoder_evaluation import VocoderEvaluation

__all__ = ["PanelEvaluation", "SpeechEvaluation", "VocoderEvaluation"]
