"""Causal LMs and their tokenizers from a folder or from a configuration of one's own."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from spectron.errors import ConfigError, did_you_mean
from spectron.language_models.tokenizer import TokenizerSettings, train_tokenizer
from spectron.weights.hub import reading, require_safetensors

GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Older spellings that transformers still understands, though no configuration class lists them.
OLD_SPELLINGS = ("rope_theta", "rope_scaling", "partial_rotary_factor")


def load_tokenizer(folder: Path, source: str, remote_code: bool) -> Any:
    """The tokenizer of a folder.

    Raises:
        ConfigError: if there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with reading(
        source, "a tokenizer (a folder saved by its save_pretrained, with tokenizer.json or the files of its kind)"
    ):
        # For some model types AutoTokenizer puts a class of its own, and its splitting of words, in the place of the one written down.
        kind = PreTrainedTokenizerFast if _is_generic(folder) else AutoTokenizer
        tokenizer: Any = kind.from_pretrained(folder, trust_remote_code=remote_code)
    # Without any of its files some kinds make a tokenizer that knows no word.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ConfigError(
            f"{source!r} ({folder}) holds no tokenizer. Copy the files of its model's tokenizer there (tokenizer.json, or those of "
            "its kind), or save it there with save_pretrained",
            key="source",
        )
    return tokenizer


def require_language_model(folder: Path, source: str) -> None:
    """Refuse a folder whose configuration is that of another kind of model than a causal LM.

    Raises:
        ConfigError: beginning with ``source``; tells where a speech encoder belongs.
    """
    from transformers import CONFIG_MAPPING, FEATURE_EXTRACTOR_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = str(settings.get("model_type"))
    if kind not in CONFIG_MAPPING or "AutoModelForCausalLM" in settings.get("auto_map", {}):
        return
    hears = CONFIG_MAPPING[kind] in FEATURE_EXTRACTOR_MAPPING
    # Of a speech recogniser such as Whisper the decoder alone passes for a language model, and writes nothing without its encoder.
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not (hears and settings.get("is_encoder_decoder")):
        return
    raise ConfigError(
        f"source: {source!r} ({folder}) holds a {kind} model, which is no causal language model. Name one, such as gpt2"
        + "; an encoder of speech belongs under model.encoder, as a spectron.encoders.PretrainedEncoder" * hears
    )


def _is_generic(folder: Path) -> bool:
    """Whether a tokenizer is all in its ``tokenizer.json``, as those are that were made with the tokenizers library."""
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or not (folder / "tokenizer.json").is_file():
        return False
    return json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class") in GENERIC_TOKENIZERS


def load_model(folder: Path, source: str, remote_code: bool, dtype: torch.dtype) -> Any:
    """The trained model of a folder, every weight from its safetensors.

    Raises:
        ConfigError: if the folder holds no causal LM, or not all of its weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it counts tensors, which tells a user nothing; downloads have a bar of their own
    require_safetensors(folder, source)
    with reading(source, "a causal language model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, trust_remote_code=remote_code, output_loading_info=True
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"the safetensors of {source!r} lack {len(missing)} tensors of a {type(model).__name__} ({', '.join(missing[:3])}), "
            "which would be random. Name a causal language model with all its weights, or set `pretrained: false` for fresh ones",
            key="source",
        )
    return model


def fresh_model(folder: Path, source: str, remote_code: bool, dtype: torch.dtype) -> Any:
    """A model of a folder's architecture with random weights.

    Raises:
        ConfigError: if the folder describes no causal LM.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with reading(source, "the configuration of a causal language model"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote_code)


def build_from_config(config: dict[str, Any], tokenizer: TokenizerSettings, dtype: torch.dtype) -> tuple[Any, Any]:
    """A tokenizer trained on the settings' text, and a model with random weights around it.

    Raises:
        ConfigError: for a model type or a key that transformers does not know, or values that do not fit together.
    """
    from transformers import AutoModelForCausalLM

    keys = {"model_type": "llama", **config}
    known = configuration_class(keys.pop("model_type"))
    require_known(keys, known)
    trained = train_tokenizer(tokenizer)
    special = {
        "bos_token_id": trained.bos_token_id,
        "eos_token_id": trained.eos_token_id,
        "pad_token_id": trained.pad_token_id,
    }
    with reading(str(config), "a causal language model", argument="config"):
        settings = known(**{"vocab_size": len(trained), **special, **keys})
        return trained, AutoModelForCausalLM.from_config(settings, dtype=dtype)


def configuration_class(model_type: str) -> type:
    """The configuration class of a type of causal LM.

    Raises:
        ConfigError: naming the nearest type.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"transformers has no causal language model of the type {model_type!r}. "
            f"{did_you_mean(model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}",
            key="config.model_type",
            allowed=MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        )
    return CONFIG_MAPPING[model_type]


def require_known(keys: dict[str, Any], known: type) -> None:
    """Refuse keys that transformers would keep and never look at.

    Raises:
        ConfigError: naming the nearest key.
    """
    parameters = [name for name in inspect.signature(known).parameters if name not in ("self", "kwargs")]
    names = {*parameters, *getattr(known, "attribute_map", {}), *OLD_SPELLINGS}
    for key in keys:
        if key not in names:
            message = f"{known.__name__} has no such key. {did_you_mean(key, names)}"
            raise ConfigError(message, key=f"config.{key}", allowed=names)
