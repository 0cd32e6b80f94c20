"""Loading of transformers' speech encoders from a folder: configuration, feature extractor and weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spectron.encoders.config_files import Reading, read_config
from spectron.encoders.discovery import Unfit, find_encoder, refusal
from spectron.encoders.front_ends import FilterBankFrontEnd, FrontEnd, WaveformFrontEnd, WindowedFrontEnd
from spectron.errors import ConfigError
from spectron.weights.hub import quiet, reading, require_float_parameters, require_safetensors

# Families by transformers' model type, each with the feature extractor that it is trained with.
FRONT_ENDS: dict[str, tuple[str, type[FrontEnd]]] = {
    **dict.fromkeys(
        (
            "wav2vec2",
            "hubert",
            "wavlm",
            "data2vec-audio",
            "unispeech",
            "unispeech-sat",
            "sew",
            "sew-d",
            "wav2vec2-conformer",
        ),
        ("Wav2Vec2FeatureExtractor", WaveformFrontEnd),
    ),
    "wav2vec2-bert": ("SeamlessM4TFeatureExtractor", FilterBankFrontEnd),
    "whisper": ("WhisperFeatureExtractor", WindowedFrontEnd),
}
# Padding changes their valid steps: convolutions and batch norms inside the blocks, squeezed steps.
SEE_PADDING = ("sew", "sew-d", "wav2vec2-conformer")
# Names of Whisper's encoder in the weights of a whole model, with and without a head.
WHISPER_PREFIX, WHISPER_NAMES = "encoder.", {r"^(model\.)?encoder\.": ""}


@dataclass
class Pretrained:
    """An encoder as read from a folder.

    Attributes:
        model: The encoder.
        extractor: The library's feature extractor.
        front_end: Spectron's front end for it.
        row_by_row: Whether recordings must be encoded one at a time.
        prefix: Prefix of the encoder's weights in the library's format.
        whole: Configuration of the whole model, if the library cannot build the encoder alone.
    """

    model: Any
    extractor: Any
    front_end: FrontEnd
    row_by_row: bool
    prefix: str = ""
    whole: Any = None


def read_encoder(folder: Path, settings: Reading) -> Pretrained:
    """Return the encoder in a folder, without the layers above the chosen one.

    Raises:
        ConfigError: with its key, if the folder holds no speech encoder or not all of its weights.
    """
    if settings.pretrained:
        require_safetensors(folder, settings.source)
    with quiet():
        config, extractor = read_config(folder, settings)
        known = type(extractor).__name__ == FRONT_ENDS.get(config.model_type, ("", None))[0]
        prepare(config, settings, known)
        return (
            read_known(folder, config, extractor, settings)
            if known
            else read_unknown(folder, config, extractor, settings)
        )


def read_known(folder: Path, config: Any, extractor: Any, settings: Reading) -> Pretrained:
    """Return the encoder of a family in ``FRONT_ENDS``."""
    from transformers import AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    whisper = config.model_type == "whisper"  # its decoder is never made
    model, told = build_model(WhisperEncoder if whisper else AutoModel, folder, config, settings)
    require_weights(told, "", folder, settings)
    if whisper and settings.pretrained:
        model.embed_positions.requires_grad_(
            False
        )  # sinusoids: the library freezes them when it builds them, but not when it loads them
    if settings.spec_augment and not hasattr(model, "_mask_hidden_states"):
        raise no_masking(config)
    front_end = FRONT_ENDS[config.model_type][1](config, extractor)
    return Pretrained(model, extractor, front_end, depends_on_padding(config), WHISPER_PREFIX if whisper else "")


def read_unknown(folder: Path, config: Any, extractor: Any, settings: Reading) -> Pretrained:
    """Return the encoder in a model of any other family; see ``discovery``."""
    if settings.spec_augment:
        raise no_masking(config)
    seen = []
    for kind in model_classes(config, settings):
        model, told = build_model(kind, folder, config, settings)
        try:
            found = find_encoder(model, extractor)
        except Unfit as reason:
            seen.append(str(reason))
            continue
        prefix = found.name and found.name + "."
        require_weights(told, prefix, folder, settings)
        if stands_alone(found.encoder):
            return Pretrained(found.encoder, extractor, found.front_end, row_by_row=True)
        return Pretrained(found.encoder, extractor, found.front_end, True, prefix, config)
    raise refusal(settings.source, config.model_type, seen or ["transformers has no class for it"])


def prepare(config: Any, settings: Reading, known: bool) -> None:
    """Change a configuration so that no layer is dropped at random and none is kept above the chosen one.

    Raises:
        ConfigError: if the layer does not exist.
    """
    for part in (config, *parts_of(config)):
        for name in ("layerdrop", "encoder_layerdrop"):
            if hasattr(part, name):
                setattr(part, name, 0.0)
        part.apply_spec_augment = settings.spec_augment  # Data2Vec masks if the attribute is missing
    if known and settings.layer != "last" and hasattr(config, "add_adapter"):
        config.add_adapter = False  # it comes after the layers
    if known and isinstance(settings.layer, int):
        require_layer(settings, config.num_hidden_layers)
        if settings.layer < config.num_hidden_layers:
            # For layer 0, the input of the first block, the first block is kept.
            config.num_hidden_layers = max(settings.layer, 1)
            # Without the final norm, which belongs to the dropped layers.
            config.tie_last_hidden_states = False


def parts_of(config: Any) -> list[Any]:
    """Return the configurations nested in a configuration."""
    from transformers import PreTrainedConfig

    parts = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return parts + [inner for part in parts for inner in parts_of(part)]


def require_layer(settings: Reading, layers: int) -> None:
    """Refuse a layer that does not exist.

    Raises:
        ConfigError: with the number of layers.
    """
    if isinstance(settings.layer, int) and not 0 <= settings.layer <= layers:
        raise ConfigError(
            f"{settings.source!r} has {layers} layers, so `layer` is 0 (before the first) to {layers}, `last` or "
            f"`weighted`; got {settings.layer}",
            key="layer",
        )


def model_classes(config: Any, settings: Reading) -> list[Any]:
    """Return classes that may build a model: the library's class without a head, then the class that the folder names.

    The second class is needed if the first layers belong to a head, as in SpeechT5.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    chosen = MODEL_MAPPING.get(type(config), None)
    kinds: list[Any] = [transformers.AutoModel] if chosen or settings.remote_code else []
    stated = getattr(transformers, (config.architectures or [""])[0], None)
    if isinstance(stated, type) and issubclass(stated, transformers.PreTrainedModel) and stated is not chosen:
        kinds.append(stated)
    return kinds


def stands_alone(encoder: Any) -> bool:
    """Return whether the library builds this encoder from its own configuration."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    return MODEL_MAPPING.get(type(encoder.config), None) is type(encoder)


def build_model(kind: Any, folder: Path, config: Any, settings: Reading) -> tuple[Any, dict[str, Any]]:
    """Return the model, and the library's report of missing and mismatched weights."""
    arguments: dict[str, Any] = {"dtype": getattr(torch, settings.dtype)}
    automatic = hasattr(kind, "from_config")
    if automatic:
        arguments["trust_remote_code"] = settings.remote_code
    with reading(settings.source, "a speech encoder"):
        if not settings.pretrained:
            make = kind.from_config if automatic else kind._from_config
            return make(config, **arguments), {}
        if config.model_type == "whisper":
            arguments["key_mapping"] = WHISPER_NAMES
        ways = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        loaded: tuple[Any, dict[str, Any]] = kind.from_pretrained(folder, config=config, **ways, **arguments)
    require_float_parameters(loaded[0], folder)
    return loaded


def require_weights(told: dict[str, Any], prefix: str, folder: Path, settings: Reading) -> None:
    """Refuse an encoder that the folder's weights do not cover; weights of a head or a decoder may be missing.

    Raises:
        ConfigError: with the first tensors that are missing or of another shape.
    """
    cure = "Give a folder whose files belong together, or `pretrained: false` for fresh weights"
    where = f"{settings.source!r} ({folder})"
    missing = [
        name
        for name in told.get("missing_keys", ())
        if name.startswith(prefix) and not name.endswith("masked_spec_embed")
    ]
    if missing:
        listed = ", ".join(sorted(missing)[:4])
        raise ConfigError(
            f"{where} lacks {len(missing)} tensors of its encoder ({listed}, ...): its weights and its config.json "
            f"belong to different models. {cure}",
            key="source",
        )
    others = sorted(entry for entry in told.get("mismatched_keys", ()) if entry[0].startswith(prefix))
    if others:
        name, stored, wanted = others[0]
        raise ConfigError(
            f"{where} holds {len(others)} tensors whose shapes differ from its config.json: {name} is {tuple(stored)} "
            f"in the weights and {tuple(wanted)} in config.json. {cure}",
            key="source",
        )


def no_masking(config: Any) -> ConfigError:
    """Return the error for ``spec_augment`` with a model that the library does not mask."""
    message = f"the library has no known masking for {config.model_type!r} encoders. Remove the key"
    return ConfigError(message, key="spec_augment")


def depends_on_padding(config: Any) -> bool:
    """Return whether padding changes valid steps of a known encoder, whatever mask it is given."""
    return (
        config.model_type in SEE_PADDING
        or getattr(config, "add_adapter", False)
        or getattr(config, "conv_pos_batch_norm", False)
    )
