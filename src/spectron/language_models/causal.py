"""One adapter over transformers' causal language models: a hub name, a local folder, or a configuration from scratch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from spectron.contracts import LanguageModel
from spectron.errors import ConfigError
from spectron.language_models.causal_loading import (
    build_from_config,
    fresh_model,
    load_model,
    load_tokenizer,
    require_language_model,
)
from spectron.language_models.driving import Past, find_driver, logits_of
from spectron.language_models.lora import LoraSettings, add_adapters, merge_adapters, set_adapter_modes
from spectron.language_models.special_tokens import ensure_end_of_text, require_vocabulary
from spectron.language_models.tokenizer import TokenizerSettings
from spectron.weights.hub import locate

# Where families keep the number of positions that they were made for.
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


class CausalLanguageModel(LanguageModel):
    """A transformers causal LM driven by embeddings, explicit positions and an explicit attention mask.

    Whatever its weights' type, it takes and gives 32-bit floats (or what the trainer's precision makes of them).

    Args:
        source: Hub name or local folder of a model with its tokenizer; None builds one from ``config``.
        revision: Branch, tag or commit on the hub.
        remote_code: Whether Python code that comes with the model may run.
        pretrained: False takes the architecture and the tokenizer of ``source``, and fresh weights.
        config: A transformers configuration, ``model_type`` and whatever that type knows (``{model_type: llama, hidden_size: 256}``).
        tokenizer: What the tokenizer of a model from ``config`` is trained on.
        lora: Adapters to train in the place of all other weights.
        dtype: Type of the weights.
        gradient_checkpointing: Compute activations again in the backward pass instead of keeping them.

    Raises:
        ConfigError: beginning with the argument's name; among others for a model that cannot be driven this way (``find_driver``).
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
                "source: give either `source` (a name or folder) or `config` with `tokenizer`, exactly one of the two"
            )
        if source is not None:
            folder = locate(source, revision, remote_code)
            require_language_model(folder, source)
            self.tokenizer = load_tokenizer(folder, source, remote_code)
            self.lm = (load_model if pretrained else fresh_model)(folder, source, remote_code, getattr(torch, dtype))
        else:
            if tokenizer is None:
                raise ConfigError(
                    "tokenizer: a model from `config` needs one: give `tokenizer: {text: <file>}` to train it on"
                )
            self.tokenizer, self.lm = build_from_config(dict(config or {}), tokenizer, getattr(torch, dtype))
        self.dtype, self.lora, self.checkpointing = dtype, lora, gradient_checkpointing
        # Lightning converts it with everything else where the trainer's precision asks for that: it tells the outside's type.
        self.register_buffer("outside", torch.empty(0), persistent=False)
        self._set_up(source or f"config of {self.lm.config.model_type}")

    def _set_up(self, name: str) -> None:
        """Find out how the model is driven, complete its tokens, and give it what the settings add."""
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
                    f"gradient_checkpointing: {name} does not know how to: {error}. Set it to false"
                ) from error
        self.train()  # transformers hands out pre-trained models in eval mode, and Lightning leaves modes as it finds them

    def train(self, mode: bool = True) -> CausalLanguageModel:
        """Training mode; beside adapters, the frozen rest stays as in use."""
        super().train(mode)
        if mode and self.lora is not None:
            set_adapter_modes(self.lm, self.checkpointing)
        return self

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenize texts: padded ids (B, N) and (B,) token counts."""
        rows = [
            torch.tensor(ids, dtype=torch.long) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return ids, torch.tensor([len(row) for row in rows])

    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Ids to texts, special tokens left out."""
        # The "clean-up" of some tokenizers takes out spaces before punctuation that were there.
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [text.strip() for text in texts]

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, N) to embeddings (B, N, D)."""
        return self.lm.get_input_embeddings()(ids).to(self.outside.dtype)

    def forward(
        self, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, cache: object | None = None
    ) -> tuple[Tensor, object]:
        """Embeddings (B, L, D) to hidden states (B, L, D) and the cache; see ``LanguageModel.forward``."""
        past = cache if isinstance(cache, Past) else None
        inside = embeddings.to(self.lm.get_input_embeddings().weight.dtype)
        hidden, past = self.driver(self.lm, inside, attention_mask, positions, past)
        return hidden.to(self.outside.dtype), past

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) to token logits (..., V)."""
        return logits_of(self.lm, hidden.to(self.lm.get_input_embeddings().weight.dtype)).to(self.outside.dtype)

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write model (in 16-bit floats if ``half``) and tokenizer in transformers' own format, so that ``source: <folder>`` loads them.

        Adapters are merged into the weights: the folder needs no peft.
        """
        lm = copy.deepcopy(self.lm) if half or self.lora is not None else self.lm
        if self.lora is not None:
            merge_adapters(lm)
        (lm.half() if half else lm).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return {} if self.dtype == "float32" else {"dtype": self.dtype}
