"""A Llama-type language model in plain PyTorch: the bundled models load and run without transformers, whose import
takes seconds.

Source: Touvron et al. 2023 (arXiv:2302.13971), with grouped queries as in Llama 2. The folder format, the parameter
    names and the
arithmetic are those of transformers' ``LlamaForCausalLM``: a folder loads in both, and both give the same numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from spectron.contracts import LanguageModel
from spectron.errors import ConfigError
from spectron.files import write_text
from spectron.language_models.special_tokens import require_plain
from spectron.weights.hub import locate, read_json, safetensors_files
from spectron.weights.state_dicts import all_floats, read_tensors, require_cover, stored

# Values of config.json that change the arithmetic and are not implemented here: only these are accepted.
REQUIRED = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
}

INITIAL_STD = 0.02


@dataclass
class LlamaConfig:
    """Sizes of a Llama, by the names of transformers' ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    @classmethod
    def read(cls, path: Path) -> LlamaConfig:
        """Read a ``config.json``.

        Raises:
            ConfigError: if it describes another kind of model, or one with settings that are not implemented here.
        """
        values = read_json(path)
        rope = values.get("rope_parameters") or {
            "rope_type": "default",
            "rope_theta": values.get("rope_theta", 10000.0),
        }
        for key, wanted in {**REQUIRED, "rope_type": "default"}.items():
            found = {**values, "rope_type": rope.get("rope_type", "default")}.get(key, wanted)
            if found != wanted:
                raise ConfigError(
                    f"{path} has {key}={found!r}, and this class implements only {wanted!r}. Take CausalLanguageModel",
                    key="source",
                )
        heads = values.get("num_attention_heads")
        defaults = {
            "num_key_value_heads": heads,
            "head_dim": values.get("hidden_size", 0) // (heads or 1),
            "rope_theta": rope["rope_theta"],
            "tie_word_embeddings": False,
            "pad_token_id": values.get("eos_token_id"),
        }
        given = {key: value for key, value in values.items() if value is not None}
        chosen: dict[str, Any] = {field.name: given.get(field.name, defaults.get(field.name)) for field in fields(cls)}
        if missing := [name for name, value in chosen.items() if value is None]:
            raise ConfigError(f"{path} lacks {', '.join(missing)}. Copy the file of the model again", key="source")
        return cls(**chosen)


class RMSNorm(nn.Module):
    """Root-mean-square layer norm, computed in 32 bits."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, L, D)."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class Attention(nn.Module):
    """Attention with rotary positions and grouped queries."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.group = config.num_attention_heads // config.num_key_value_heads
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(width, inner, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(inner, width, bias=False)

    def forward(
        self, x: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Attend from (B, L, D) to the past and itself under an additive mask (B, 1, L, S); returns keys and values
        too.
        """
        query, key, value = (
            project(x).unflatten(2, (-1, self.head_dim)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, L, D / H)
        query, key = rotate(query, *rotation), rotate(key, *rotation)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        repeated = (
            (key, value)
            if self.group == 1
            else (key.repeat_interleave(self.group, dim=1), value.repeat_interleave(self.group, dim=1))
        )
        attended = functional.scaled_dot_product_attention(query, *repeated, attn_mask=mask)
        return self.o_proj(attended.transpose(1, 2).flatten(2)), (key, value)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate pairs of channels of (B, H, L, D / H) by their positions' angles (B, 1, L, D / H)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class FeedForward(nn.Module):
    """A gated feed-forward module."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (B, L, D)."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and a feed-forward module, each after a norm and with a residual connection."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Transform (B, L, D); returns the keys and values too."""
        attended, kept = self.self_attn(self.input_layernorm(x), mask, rotation, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class Llama(nn.Module):
    """The network, with transformers' parameter names below ``model``."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        channels = torch.arange(0, config.head_dim, 2, dtype=torch.float)
        self.frequencies = nn.Buffer(1.0 / config.rope_theta ** (channels / config.head_dim), persistent=False)

    def forward(
        self, x: Tensor, attention_mask: Tensor, positions: Tensor, past: list[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Transform embeddings (B, L, D); see ``LanguageModel.forward``."""
        angles = positions[..., None].float() * self.frequencies.float()
        angles = torch.cat([angles, angles], dim=-1)[:, None]  # (B, 1, L, D / H)
        rotation = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        mask = torch.zeros(attention_mask.shape, dtype=x.dtype, device=x.device)
        mask = mask.masked_fill(~attention_mask, torch.finfo(x.dtype).min)[:, None]  # (B, 1, L, S)
        kept = []
        for place, layer in enumerate(self.layers):
            x, keys_values = layer(x, mask, rotation, past[place] if past else None)
            kept.append(keys_values)
        return self.norm(x), kept


def draw_weights(module: nn.Module) -> None:
    """Draw the weights of a linear layer or an embedding as transformers does."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)


class LlamaLanguageModel(LanguageModel):
    """A trained Llama with its tokenizer.

    Args:
        source: Folder (or hub name) with ``config.json``, safetensors and ``tokenizer.json``, in the format of
            transformers.
        revision: Branch, tag or commit on the hub.
        tokenizer: File of the tokenizer; by default ``tokenizer.json`` in the folder.
        pretrained: False takes the sizes and the tokenizer of ``source``, and fresh weights.

    Raises:
        ConfigError: with the key ``source``, if the folder holds another kind of model, or lacks a file.
        CheckpointError: if the safetensors do not cover the model.
    """

    def __init__(
        self, source: str, revision: str | None = None, tokenizer: str | None = None, pretrained: bool = True
    ) -> None:
        super().__init__()
        folder = locate(source, revision)
        vocabulary = Path(tokenizer) if tokenizer else folder / "tokenizer.json"
        for key, path in (("source", folder / "config.json"), ("tokenizer" if tokenizer else "source", vocabulary)):
            if not path.is_file():
                raise ConfigError(f"there is no file {path}. Name the folder of a Llama with its tokenizer", key=key)
        self.tokenizer = Tokenizer.from_file(str(vocabulary))
        self.tokenizer.encode_special_tokens = True  # as the letters of their names
        self.config = LlamaConfig.read(folder / "config.json")
        self.model = Llama(self.config)
        self.lm_head = (
            None
            if self.config.tie_word_embeddings
            else nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        )
        if pretrained:
            self._load(folder, source)
        else:
            self.apply(draw_weights)
        self.hidden_size, self.max_positions = self.config.hidden_size, self.config.max_position_embeddings
        self.sos_id, self.eos_id, self.pad_id = (
            self.config.bos_token_id,
            self.config.eos_token_id,
            self.config.pad_token_id,
        )

    def _load(self, folder: Path, source: str) -> None:
        """Load the weights of a folder, all of them and nothing else."""
        tensors: dict[str, Tensor] = {}
        for path in safetensors_files(folder, source):
            tensors |= read_tensors(path, "source", is_float=all_floats)
        if self.lm_head is None:
            tensors.pop("lm_head.weight", None)  # the same as the embeddings
        require_cover(self.state_dict(), tensors, str(folder), "source")
        self.load_state_dict(tensors)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Convert texts to padded ids (B, N) and (B,) token counts, on the model's device.

        Raises:
            DataError: if the tokenizer can only write a part of a text as a special token.
        """
        encoded = [row.ids for row in self.tokenizer.encode_batch(texts, add_special_tokens=False)]
        require_plain(texts, encoded, {self.sos_id, self.eos_id}, self.tokenizer.id_to_token)
        rows = [torch.tensor(ids, dtype=torch.long) for ids in encoded]
        device = self.model.embed_tokens.weight.device
        ids = pad_sequence(rows, batch_first=True, padding_value=self.pad_id)
        return ids.to(device), torch.tensor([len(row) for row in rows], device=device)

    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Convert ids to texts, special tokens left out."""
        return [text.strip() for text in self.tokenizer.decode_batch(ids, skip_special_tokens=True)]

    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids (B, N): (B, N, D)."""
        return self.model.embed_tokens(ids)

    def forward(
        self, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, cache: object | None = None
    ) -> tuple[Tensor, object]:
        """Transform embeddings (B, L, D) into hidden states (B, L, D); returns the cache too, None in training."""
        past = cache if isinstance(cache, list) else None
        hidden, kept = self.model(embeddings, attention_mask, positions, past)
        return hidden, None if self.training else kept

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the token logits (..., V) of hidden states (..., D)."""
        return functional.linear(hidden, (self.lm_head or self.model.embed_tokens).weight)

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write the model (in 16-bit floats if ``half``) and its tokenizer, for ``source`` of this class and of
        ``CausalLanguageModel``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: stored(value, half) for name, value in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        sizes = {field.name: getattr(self.config, field.name) for field in fields(self.config)}
        rope = {"rope_type": "default", "rope_theta": sizes.pop("rope_theta")}
        config = {"architectures": ["LlamaForCausalLM"], **REQUIRED, **sizes, "rope_parameters": rope}
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True))
        names = {"bos_token": self.sos_id, "eos_token": self.eos_id, "pad_token": self.pad_id}
        tokens = {name: self.tokenizer.id_to_token(token) for name, token in names.items()}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **tokens}
        write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
        return {}
