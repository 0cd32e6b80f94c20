"""Language models: an adapter over transformers' causal LMs, and a Llama that needs no transformers."""

from spectron.language_models.causal import CausalLanguageModel
from spectron.language_models.llama import LlamaLanguageModel
from spectron.language_models.lora import LoraSettings
from spectron.language_models.tokenizer import TokenizerSettings

__all__ = ["CausalLanguageModel", "LlamaLanguageModel", "LoraSettings", "TokenizerSettings"]
