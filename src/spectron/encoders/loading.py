"""transformers' speech encoders from a folder: configuration, feature extractor, and the encoder's own weights, all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from spectron.encoders.front_ends import FilterBankFrontEnd, FrontEnd, LibraryFrontEnd, WaveformFrontEnd, WindowedFrontEnd
from spectron.errors import ConfigError
from spectron.hub import reading, require_safetensors

Layer = int | Literal["last", "weighted"]

# Families by transformers' model type, each with the feature extractor that it is trained with.
FRONT_ENDS: dict[str, tuple[str, type[FrontEnd]]] = {
    **dict.fromkeys(
        ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew", "sew-d", "wav2vec2-conformer"),
        ("Wav2Vec2FeatureExtractor", WaveformFrontEnd),
    ),
    "wav2vec2-bert": ("SeamlessM4TFeatureExtractor", FilterBankFrontEnd),
    "whisper": ("WhisperFeatureExtractor", WindowedFrontEnd),
}
# Padding reaches their valid steps: convolutions and batch norms inside the blocks, squeezed steps.
SEE_PADDING = ("sew", "sew-d", "wav2vec2-conformer")
# Whisper's encoder within a whole model's weights, with a head or without.
WHISPER_PREFIX, WHISPER_NAMES = "encoder.", {r"^(model\.)?encoder\.": ""}


@dataclass
class Pretrained:
    """What a folder holds.

    Attributes:
        model: The encoder.
        extractor: The library's feature extractor.
        front_end: The platform's form of it.
        row_by_row: Whether recordings have to be encoded one at a time.
        prefix: What precedes the encoder's weights in the library's format.
    """

    model: Any
    extractor: Any
    front_end: FrontEnd
    row_by_row: bool
    prefix: str = ""


@dataclass
class Reading:
    """How a folder is read; see ``PretrainedEncoder``."""

    source: str
    layer: Layer
    remote_code: bool
    dtype: str
    pretrained: bool
    spec_augment: bool


def read_encoder(folder: Path, settings: Reading) -> Pretrained:
    """The encoder in a folder, cut off above the layer that is asked for.

    Raises:
        ConfigError: naming the argument, where the folder holds no speech encoder or not all of its weights.
    """
    source = settings.source
    if settings.pretrained:
        require_safetensors(folder, source)
    with quiet():
        config, extractor = read_config(folder, settings)
        name, front_end = FRONT_ENDS.get(config.model_type, ("", LibraryFrontEnd))
        known = type(extractor).__name__ == name
        prepare(config, settings, known)
        with reading(source, "a speech encoder"):
            model, missing = build_model(folder, config, settings)
    encoder, prefix = (model, "") if known else encoder_half(model, source)
    missing = [name for name in missing if name.startswith(prefix) and not name.endswith("masked_spec_embed")]
    if missing:
        listed = ", ".join(sorted(missing)[:4])
        raise ConfigError(
            f"source: {source!r} ({folder}) lacks {len(missing)} tensors of its encoder ({listed}, ...): its weights and its config.json "
            "belong to different models. Give a complete folder, or `pretrained: false` for fresh weights"
        )
    if settings.spec_augment and not (known and hasattr(encoder, "_mask_hidden_states")):
        raise ConfigError(f"spec_augment: {config.model_type!r} encoders have no known masking of the library's. Remove the key")
    if config.model_type == "whisper":
        prefix = WHISPER_PREFIX
    row_by_row = not known or hears_padding(config)
    return Pretrained(encoder, extractor, (front_end if known else LibraryFrontEnd)(config, extractor), row_by_row, prefix)


def read_config(folder: Path, settings: Reading) -> tuple[Any, Any]:
    """Configuration and feature extractor of a folder.

    Raises:
        ConfigError: if it is no speech model's, or brings code that the user has not allowed.
    """
    from transformers import AutoConfig, AutoFeatureExtractor
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

    source = settings.source
    if not (folder / "config.json").is_file():
        raise ConfigError(f"source: {source!r} ({folder}) holds no config.json: it is no model of transformers. Correct `source`")
    require_allowed_code(folder, settings)
    with reading(source, "a model of transformers"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.remote_code)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=settings.remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"source: {source!r} ({folder}) is a {config.model_type!r} model without a preprocessor_config.json that says how it hears. "
            "Name a speech encoder; for one, put its preprocessor_config.json beside its config.json"
        ) from error
    if not isinstance(extractor, SequenceFeatureExtractor):
        raise ConfigError(f"source: {source!r} is a {config.model_type!r} model, and its {type(extractor).__name__} reads no audio")
    return config, extractor


def require_allowed_code(folder: Path, settings: Reading) -> None:
    """Refuse a model that only its repository's own code can build, unless the user has allowed that.

    Raises:
        ConfigError: naming the key that allows it.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    with reading(settings.source, "a model of transformers"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING and not settings.remote_code:
        raise ConfigError(
            f"remote_code: {settings.source!r} is built by Python files of its own, which would run on this machine. Read them, then allow "
            "them with `remote_code: true` (and pin a `revision`)"
        )


def prepare(config: Any, settings: Reading, known: bool) -> None:
    """Set a configuration to what the platform promises: no layer is dropped at random, none is kept above the chosen one.

    Raises:
        ConfigError: if there is no such layer.
    """
    for name in ("layerdrop", "encoder_layerdrop"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    config.apply_spec_augment = settings.spec_augment  # without the name, Data2Vec's masking is on
    if known and settings.layer != "last" and hasattr(config, "add_adapter"):
        config.add_adapter = False  # it comes after the layers
    if known and isinstance(settings.layer, int):
        require_layer(settings, config.num_hidden_layers)
        if settings.layer < config.num_hidden_layers:
            # The first block stays for layer 0, which is what goes into it.
            config.num_hidden_layers = max(settings.layer, 1)
            # Not the output of a final norm that belongs to the layers cut off.
            config.tie_last_hidden_states = False


def require_layer(settings: Reading, layers: int) -> None:
    """Refuse a layer that is not there.

    Raises:
        ConfigError: with the number of layers.
    """
    if isinstance(settings.layer, int) and not 0 <= settings.layer <= layers:
        raise ConfigError(
            f"layer: {settings.source!r} has {layers} layers, so `layer` is 0 (before the first) to {layers}, `last` or `weighted`; "
            f"got {settings.layer}"
        )


def build_model(folder: Path, config: Any, settings: Reading) -> tuple[Any, list[str]]:
    """The model, and the names of the weights that the folder lacks."""
    from transformers import AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    arguments: dict[str, Any] = {"dtype": getattr(torch, settings.dtype)}
    if config.model_type == "whisper":  # its decoder is never made
        if not settings.pretrained:
            return WhisperEncoder._from_config(config, **arguments), []
        kind: Any = WhisperEncoder
        arguments["key_mapping"] = WHISPER_NAMES
    else:
        kind = AutoModel
        arguments["trust_remote_code"] = settings.remote_code
        if not settings.pretrained:
            return AutoModel.from_config(config, **arguments), []
    model, told = kind.from_pretrained(folder, config=config, use_safetensors=True, output_loading_info=True, **arguments)
    if config.model_type == "whisper":
        model.embed_positions.requires_grad_(False)  # sinusoids, which the library fixes when it makes them and not when it loads them
    return model, list(told["missing_keys"])


def encoder_half(model: Any, source: str) -> tuple[Any, str]:
    """The audio encoder within a model, and what precedes its weights' names.

    Raises:
        ConfigError: if the model is one of text.
    """
    encoder = model.get_encoder(modality="audio")
    if encoder is model and model.config.is_encoder_decoder:
        encoder = model.get_encoder()
    if encoder.main_input_name == "input_ids":
        raise ConfigError(f"source: {source!r} is a {model.config.model_type!r} model, whose encoder reads text. Name a speech encoder")
    prefix = next(name for name, module in model.named_modules() if module is encoder)
    return encoder, prefix and prefix + "."


def hears_padding(config: Any) -> bool:
    """Whether the padding of a batch would reach valid steps of a known encoder, whatever mask it is given."""
    return config.model_type in SEE_PADDING or getattr(config, "add_adapter", False) or getattr(config, "conv_pos_batch_norm", False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the library's report of weights: a head that is left out is no news, and one that is missing is an error here."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # it counts tensors, which tells a user nothing; downloads have a bar of their own
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
