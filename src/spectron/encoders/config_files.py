"""What the JSON files of a folder in transformers' format say: the model's configuration and how it hears."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spectron.errors import ConfigError
from spectron.weights.hub import read_json, reading

Layer = int | Literal["last", "weighted"]
# The feature extractor stands in either, by the age of the library that wrote it.
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass
class Reading:
    """How a folder is read; see ``PretrainedEncoder``."""

    source: str
    layer: Layer
    remote_code: bool
    dtype: str
    pretrained: bool
    spec_augment: bool


def read_config(folder: Path, settings: Reading) -> tuple[Any, Any]:
    """Configuration and feature extractor of a folder.

    Raises:
        ConfigError: if it is no speech model's, or brings code that the user has not allowed.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{settings.source!r} ({folder}) holds no config.json: it is no model of transformers. Correct `source`",
            key="source",
        )
    require_allowed_code(read_json(folder / "config.json"), settings)
    with reading(settings.source, "a model of transformers"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.remote_code)
    return config, read_extractor(folder, config.model_type, settings)


def read_extractor(folder: Path, model_type: str, settings: Reading) -> Any:
    """The library's feature extractor of a folder.

    Raises:
        ConfigError: if there is none, or none for audio, or its file is broken.
    """
    from transformers import AutoFeatureExtractor
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

    source = settings.source
    files = [folder / name for name in EXTRACTOR_FILES if (folder / name).is_file()]
    if not files:
        raise ConfigError(
            f"{source!r} ({folder}) is a {model_type!r} model without a {EXTRACTOR_FILES[0]} that says how it hears. "
            "Name a speech encoder; for one, put that file of its repository beside its config.json (a language model belongs under "
            "model.language_model)",
            key="source",
        )
    for path in files:
        read_json(path)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=settings.remote_code)
    except Exception as error:  # every extractor has its own way to refuse its settings
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{files[0]} does not say how a {model_type!r} model hears ({type(error).__name__}: {said}). Put the file of its own "
            "repository there, or name a speech encoder",
            key="source",
        ) from error
    if not isinstance(extractor, SequenceFeatureExtractor):
        raise ConfigError(
            f"{source!r} is a {model_type!r} model, and its {type(extractor).__name__} reads no audio", key="source"
        )
    rate: Any = extractor.sampling_rate
    if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
        raise ConfigError(
            f"{files[0]} says `sampling_rate` {rate!r}. Write the rate in Hz as a whole number, such as 16000",
            key="source",
        )
    return extractor


def require_allowed_code(config: dict[str, Any], settings: Reading) -> None:
    """Refuse a model that only its repository's own code can build, unless the user has allowed that.

    Raises:
        ConfigError: naming the key that allows it.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING and not settings.remote_code:
        raise ConfigError(
            f"{settings.source!r} is built by Python files of its own, which would run on this machine. Read them, then allow "
            "them with `remote_code: true` (and pin a `revision`)",
            key="remote_code",
        )
