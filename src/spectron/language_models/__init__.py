"""Language models: one adapter over transformers' causal LMs."""

from spectron.language_models.causal import CausalLanguageModel
from spectron.language_models.lora import LoraSettings
from spectron.language_models.tokenizer import TokenizerSettings

__all__ = ["CausalLanguageModel", "LoraSettings", "TokenizerSettings"]
