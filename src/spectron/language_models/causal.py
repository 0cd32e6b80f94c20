"""Adapter for transformers' causal language models: from a hub name, a local folder, or a configuration."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from spectron.contracts import LanguageModel
from spectron.errors import ConfigError
from spectron.files import writing
from spectron.language_models.causal_loading import (
    build_from_config,
    fresh_model,
    load_model,
    load_tokenizer,
    require_language_model,
)
from spectron.language_models.driving import Past, find_driver, logits_of
from spectron.language_models.lora import LoraSettings, add_adapters, merge_adapters, set_adapter_modes
from spectron.language_models.special_tokens import ensure_end_of_text, plain_ids, require_vocabulary
from spectron.language_models.tokenizer import TokenizerSettings
from spectron.weights.hub import locate

# Names of the number of positions in the configurations of different families.
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


class CausalLanguageModel(LanguageModel):
    """A transformers causal LM driven by embeddings, explicit positions and an explicit attention mask.

    Inputs and outputs are 32-bit floats, or the type of the trainer's precision, whatever the type of its weights.

    Args:
        source: Hub name or local folder of a model with its tokenizer; None builds one from ``config``.
        revision: Branch, tag or commit on the hub.
        remote_code: Whether Python code that comes with the model may run.
        pretrained: False takes the architecture and the tokenizer of ``source``, and fresh weights.
        config: A transformers configuration: ``model_type`` and keys of that type
            (``{model_type: llama, hidden_size: 256}``).
        tokenizer: Training settings of the tokenizer of a model from ``config``.
        lora: Adapters to train instead of all other weights.
        dtype: Type of the weights.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them.

    Raises:
        ConfigError: with the argument as its key; among others for a model that cannot be driven this way
            (``find_driver``).
    """

    outside: Tensor

    def __init__(
        self,
        source: str | None = None,
        revision: str | None = None,
        remote_code: bool = False,
        pretrained: bool = True,
        config: dict[str, Any] | None = None,
        tokenizer: TokenizerSettings | None = None,
        lora: LoraSettings | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if (source is None) == (config is None):
            raise ConfigError(
                "give either `source` (a name or folder) or `config` with `tokenizer`, exactly one of the two",
                key="source",
            )
        if source is not None:
            folder = locate(source, revision, remote_code)
            require_language_model(folder, source)
            self.tokenizer = load_tokenizer(folder, source, remote_code)
            self.lm = (load_model if pretrained else fresh_model)(folder, source, remote_code, getattr(torch, dtype))
        else:
            if tokenizer is None:
                raise ConfigError(
                    "a model from `config` needs a tokenizer. Set `tokenizer: {text: <file>}` to train one",
                    key="tokenizer",
                )
            self.tokenizer, self.lm = build_from_config(dict(config or {}), tokenizer, getattr(torch, dtype))
        self.dtype, self.lora, self.checkpointing = dtype, lora, gradient_checkpointing
        # An empty buffer that Lightning converts with the whole module: its type is that of inputs and outputs.
        self.register_buffer("outside", torch.empty(0), persistent=False)
        self._set_up(source or f"config of {self.lm.config.model_type}")

    def _set_up(self, name: str) -> None:
        """Find the driver of the model, complete its special tokens, and add adapters and checkpointing."""
        require_vocabulary(self.tokenizer, self.lm, name)
        self.driver, self.bidirectional = find_driver(self.lm, name)
        self.eos_id = ensure_end_of_text(self.tokenizer, self.lm)
        self.sos_id = self.eos_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        self.pad_id = self.eos_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        self.hidden_size = self.lm.get_input_embeddings().embedding_dim
        settings = self.lm.config.get_text_config()
        self.max_positions = next((getattr(settings, name) for name in LIMITS if getattr(settings, name, None)), None)
        if self.lora is not None:
            add_adapters(self.lm, self.lora)
        if self.checkpointing:
            try:
                self.lm.activation_checkpointing_enable({"use_reentrant": False})
            except ValueError as error:
                raise ConfigError(
                    f"{name} does not support it: {error}. Set the key to false", key="gradient_checkpointing"
                ) from error
        self.train()  # transformers loads models in eval mode, and Lightning does not change modes

    def train(self, mode: bool = True) -> CausalLanguageModel:
        """Set training mode; the frozen weights under adapters stay in eval mode."""
        super().train(mode)
        if mode and self.lora is not None:
            set_adapter_modes(self.lm, self.checkpointing)
        return self

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenize texts: padded ids (B, N) and (B,) token counts.

        Raises:
            DataError: if the tokenizer can only write a part of a text as a special token.
        """
        rows = [torch.tensor(ids, dtype=torch.long) for ids in plain_ids(self.tokenizer, texts)]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return ids, torch.tensor([len(row) for row in rows])

    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Convert ids to texts, without special tokens."""
        # The "clean-up" of some tokenizers removes spaces before punctuation that the text had.
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() for text in texts]

    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids (B, N) as (B, N, D)."""
        return self.lm.get_input_embeddings()(ids).to(self.outside.dtype)

    def forward(
        self, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, cache: object | None = None
    ) -> tuple[Tensor, object]:
        """Transform embeddings (B, L, D) into hidden states (B, L, D) and the cache; see ``LanguageModel.forward``."""
        past = cache if isinstance(cache, Past) else None
        inside = embeddings.to(self.lm.get_input_embeddings().weight.dtype)
        hidden, past = self.driver(self.lm, inside, attention_mask, positions, past)
        return hidden.to(self.outside.dtype), past

    def logits(self, hidden: Tensor) -> Tensor:
        """Convert hidden states (..., D) to token logits (..., V)."""
        return logits_of(self.lm, hidden.to(self.lm.get_input_embeddings().weight.dtype)).to(self.outside.dtype)

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write model (in 16-bit floats if ``half``) and tokenizer in transformers' format, for ``source: <folder>``.

        Adapters are merged into the weights, so that the folder does not need peft.
        """
        lm = copy.deepcopy(self.lm) if half or self.lora is not None else self.lm
        if self.lora is not None:
            merge_adapters(lm)
        (lm.half() if half else lm).save_pretrained(folder)
        with writing(folder, Exception):  # the library of the tokenizer raises no more specific kind
            self.tokenizer.save_pretrained(folder)
        return {} if self.dtype == "float32" else {"dtype": self.dtype}
