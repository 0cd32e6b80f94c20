"""One adapter over transformers' causal language models: a hub name, a local folder, or a configuration from scratch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectron.contracts import LanguageModel
from spectron.errors import ConfigError
from spectron.language_models.tokenizer import TokenizerSettings, train_tokenizer


class CausalLanguageModel(LanguageModel):
    """A transformers causal LM driven by embeddings, explicit positions and an explicit attention mask.

    Args:
        source: Hub name or local folder of a pre-trained model with its tokenizer; None builds one from ``config``.
        config: A transformers configuration, ``model_type`` and whatever that type knows (``{model_type: llama, hidden_size: 256}``).
        tokenizer: What the tokenizer of a model from scratch is trained on.

    Raises:
        ConfigError: if neither or both of ``source`` and ``config`` are given, or the source cannot be loaded.
    """

    def __init__(self, source: str | None = None, config: dict[str, Any] | None = None, tokenizer: TokenizerSettings | None = None) -> None:
        super().__init__()
        if (source is None) == (config is None):
            raise ConfigError("language_model takes either `source` (a name or folder) or `config` with `tokenizer`; give exactly one")
        if source is not None:
            self.tokenizer, self.lm = load_pretrained(source)
        else:
            if tokenizer is None:
                raise ConfigError(
                    "language_model.config builds a model from scratch and needs `tokenizer: {text: <file>}` to train a tokenizer on"
                )
            self.tokenizer, self.lm = build_from_config(dict(config or {}), tokenizer)
        self.lm.train()  # transformers hands out pre-trained models in eval mode, and Lightning leaves modes as it finds them
        settings = self.lm.config.get_text_config()
        self.width = self.lm.get_input_embeddings().embedding_dim
        self.max_positions = getattr(settings, "max_position_embeddings", None)
        self.eos_id = required_token(self.tokenizer, "eos", source)
        self.sos_id = self.eos_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        self.pad_id = self.eos_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts to padded ids (B, N) and (B,) token counts, on the model's device."""
        rows = [torch.tensor(ids, dtype=torch.long) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return ids.to(self.lm.device), torch.tensor([len(row) for row in rows], device=self.lm.device)

    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Ids to texts, special tokens left out."""
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, N) to embeddings (B, N, D)."""
        return self.lm.get_input_embeddings()(ids)

    def forward(self, embeddings: Tensor, visible: Tensor, positions: Tensor, cache: object | None = None) -> tuple[Tensor, object]:
        """Embeddings (B, L, D) to hidden states (B, L, D) and the cache; see ``LanguageModel.forward``."""
        from transformers import DynamicCache

        # A four-dimensional mask is taken as it is by every decoder of transformers: it replaces the causal one.
        hidden_keys = torch.zeros(visible.shape, dtype=embeddings.dtype, device=embeddings.device)
        mask = hidden_keys.masked_fill(~visible, torch.finfo(embeddings.dtype).min)[:, None]
        output = self.lm.base_model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache if cache is not None else (None if self.training else DynamicCache()),
            use_cache=not self.training,
        )
        return output.last_hidden_state, output.past_key_values

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) to token logits (..., V)."""
        return self.lm.get_output_embeddings()(hidden)

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write model (in 16-bit floats if ``half``) and tokenizer in transformers' own format, so that ``source: <folder>`` loads them."""
        (copy.deepcopy(self.lm).half() if half else self.lm).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return {}


def load_pretrained(source: str) -> tuple[Any, Any]:
    """Tokenizer and model of a hub name or local folder, safetensors only, no remote code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # it counts tensors, which tells a user nothing; downloads have a bar of their own
    try:
        model = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, dtype=torch.float32, attn_implementation="sdpa")
        return AutoTokenizer.from_pretrained(source), model
    except (OSError, ValueError) as error:
        where = "a folder" if Path(source).exists() else "neither a local folder nor a model that could be fetched from the hub"
        raise ConfigError(
            f"language_model.source: {source!r} is {where}; it must hold config.json, a tokenizer and model.safetensors ({error})"
        ) from error


def build_from_config(config: dict[str, Any], tokenizer: TokenizerSettings) -> tuple[Any, Any]:
    """Tokenizer trained on the corpus and a randomly initialised model around it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    trained = train_tokenizer(tokenizer)
    model_type = config.pop("model_type", "llama")
    special = {"bos_token_id": trained.bos_token_id, "eos_token_id": trained.eos_token_id, "pad_token_id": trained.pad_token_id}
    try:
        settings = AutoConfig.for_model(model_type, **{"vocab_size": len(trained), **special, **config})
    except ValueError as error:
        raise ConfigError(f"language_model.config.model_type: transformers knows no {model_type!r} ({str(error)[:200]})") from error
    return trained, AutoModelForCausalLM.from_config(settings, attn_implementation="sdpa")


def required_token(tokenizer: Any, name: str, source: str | None) -> int:
    """Id of a special token that the model cannot do without."""
    token: int | None = getattr(tokenizer, f"{name}_token_id")
    if token is None:
        raise ConfigError(f"the tokenizer of {source!r} has no {name} token, which ends every text; choose a model with one")
    return token
