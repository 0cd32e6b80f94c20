"""Loading of causal LMs and their tokenizers, from a folder or from a configuration."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from spectron.errors import ConfigError, did_you_mean
from spectron.language_models.tokenizer import TokenizerSettings, train_tokenizer
from spectron.weights.hub import reading, require_float_parameters, require_safetensors

GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
# Older names that transformers still accepts, although no configuration class lists them.
OLD_SPELLINGS = ("rope_theta", "rope_scaling", "partial_rotary_factor")


def load_tokenizer(folder: Path, source: str, remote_code: bool) -> Any:
    """Load the tokenizer of a folder.

    Raises:
        ConfigError: with the key ``source``, if there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with reading(
        source, "a tokenizer (a folder saved by its save_pretrained, with tokenizer.json or the files of its kind)"
    ):
        # For some model types AutoTokenizer uses another class than the stored one, which splits words otherwise.
        kind = PreTrainedTokenizerFast if _is_generic(folder) else AutoTokenizer
        tokenizer: Any = kind.from_pretrained(folder, trust_remote_code=remote_code)
    # Without any of its files, some classes build a tokenizer without words.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ConfigError(
            f"{source!r} ({folder}) contains no tokenizer. Copy the files of its model's tokenizer there "
            "(tokenizer.json, or those of its kind), or save it there with save_pretrained",
            key="source",
        )
    return tokenizer


def require_language_model(folder: Path, source: str) -> None:
    """Refuse a folder with the configuration of another kind of model than a causal LM.

    Raises:
        ConfigError: with the key ``source``; for a speech encoder, the message names the right key.
    """
    from transformers import CONFIG_MAPPING, FEATURE_EXTRACTOR_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = str(settings.get("model_type"))
    if kind not in CONFIG_MAPPING or "AutoModelForCausalLM" in settings.get("auto_map", {}):
        return
    is_audio = CONFIG_MAPPING[kind] in FEATURE_EXTRACTOR_MAPPING
    # transformers lists the decoder of a recogniser such as Whisper as a language model, but it needs its encoder.
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not (is_audio and settings.get("is_encoder_decoder")):
        return
    raise ConfigError(
        f"{source!r} ({folder}) contains a {kind} model, which is no causal language model. Name one, such as gpt2"
        + "; a speech encoder belongs under model.encoder, as a spectron.encoders.PretrainedEncoder" * is_audio,
        key="source",
    )


def _is_generic(folder: Path) -> bool:
    """Return whether ``tokenizer.json`` contains the whole tokenizer, as for tokenizers of the tokenizers library."""
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or not (folder / "tokenizer.json").is_file():
        return False
    return json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class") in GENERIC_TOKENIZERS


def load_model(folder: Path, source: str, remote_code: bool, dtype: torch.dtype) -> Any:
    """Load the trained model of a folder, every weight from its safetensors.

    Raises:
        ConfigError: with the key ``source``, if the folder contains no causal LM, or not all of its weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it counts tensors, which is no use to a user; downloads have another bar
    require_safetensors(folder, source)
    with reading(source, "a causal language model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, trust_remote_code=remote_code, output_loading_info=True
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ConfigError(
            f"the safetensors of {source!r} lack {len(missing)} tensors of a {type(model).__name__} "
            f"({', '.join(missing[:3])}), which would be random. Name a causal language model with all its weights, "
            "or set `pretrained: false` for random ones",
            key="source",
        )
    require_float_parameters(model, folder)
    return model


def fresh_model(folder: Path, source: str, remote_code: bool, dtype: torch.dtype) -> Any:
    """Build a model of a folder's architecture with random weights.

    Raises:
        ConfigError: if the folder describes no causal LM.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    with reading(source, "the configuration of a causal language model"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=remote_code)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=remote_code)


def build_from_config(config: dict[str, Any], tokenizer: TokenizerSettings, dtype: torch.dtype) -> tuple[Any, Any]:
    """Train a tokenizer on the settings' text, and build a model with random weights for it.

    Raises:
        ConfigError: for a model type or a key that transformers does not have, or values that do not fit together.
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
    """Return the configuration class of a type of causal LM.

    Raises:
        ConfigError: with the key ``config.model_type``, naming the nearest type.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"transformers has no causal language model of the type {model_type!r}. "
            + did_you_mean(model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
            key="config.model_type",
            allowed=MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        )
    return CONFIG_MAPPING[model_type]


def require_known(keys: dict[str, Any], known: type) -> None:
    """Refuse keys that transformers would store and never read.

    Raises:
        ConfigError: with the unknown key, naming the nearest known one.
    """
    parameters = [name for name in inspect.signature(known).parameters if name not in ("self", "kwargs")]
    names = {*parameters, *getattr(known, "attribute_map", {}), *OLD_SPELLINGS}
    for key in keys:
        if key not in names:
            raise ConfigError(
                f"{known.__name__} has no such key. {did_you_mean(key, names)}",
                key=f"config.{key}",
                allowed=sorted(names),
            )
