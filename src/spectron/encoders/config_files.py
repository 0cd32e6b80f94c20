"""Model configuration and feature extractor of a folder in transformers' format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from spectron.errors import ConfigError
from spectron.ranges import Range
from spectron.weights.hub import read_json, reading

LayerNumber = Annotated[int, Range(0, 10_000)]
Layer = LayerNumber | Literal["last", "weighted"]
# Older and newer versions of the library write the feature extractor to different files.
EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass
class Reading:
    """Settings for reading a folder; see ``PretrainedEncoder``."""

    source: str
    layer: Layer
    remote_code: bool
    dtype: str
    pretrained: bool
    spec_augment: bool


def read_config(folder: Path, settings: Reading) -> tuple[Any, Any]:
    """Return the configuration and the feature extractor of a folder.

    Raises:
        ConfigError: if the folder holds no speech model, or needs code that the user has not allowed.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{settings.source!r} ({folder}) holds no config.json, so it is no model of transformers. Correct `source`",
            key="source",
        )
    require_allowed_code(read_json(folder / "config.json"), settings)
    with reading(settings.source, "a model of transformers"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=settings.remote_code)
    return config, read_extractor(folder, config.model_type, settings)


def read_extractor(folder: Path, model_type: str, settings: Reading) -> Any:
    """Return the feature extractor of a folder.

    Raises:
        ConfigError: if there is none, if it reads no audio, or if its file is broken.
    """
    from transformers import AutoFeatureExtractor
    from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

    source = settings.source
    files = [folder / name for name in EXTRACTOR_FILES if (folder / name).is_file()]
    if not files:
        raise ConfigError(
            f"{source!r} ({folder}) is a {model_type!r} model without a {EXTRACTOR_FILES[0]}, the file of a feature "
            "extractor. If it is a speech encoder, copy that file from its repository next to its config.json. "
            "Otherwise name a speech encoder (a language model belongs under model.language_model)",
            key="source",
        )
    for path in files:
        read_json(path)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=settings.remote_code)
    except Exception as error:  # every extractor refuses its settings with its own kind of error
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{files[0]} is no feature extractor of a {model_type!r} model ({type(error).__name__}: {said}). Replace "
            "it by the file of the model's repository, or name a speech encoder",
            key="source",
        ) from error
    if not isinstance(extractor, SequenceFeatureExtractor):
        raise ConfigError(
            f"{source!r} is a {model_type!r} model, and its {type(extractor).__name__} reads no audio", key="source"
        )
    rate: Any = extractor.sampling_rate
    if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
        raise ConfigError(
            f"{files[0]} has `sampling_rate` {rate!r}. Write the rate in Hz as a whole number, such as 16000",
            key="source",
        )
    return extractor


def require_allowed_code(config: dict[str, Any], settings: Reading) -> None:
    """Refuse a model that only its repository's own code can build, unless the user has allowed that.

    Raises:
        ConfigError: with the key that allows it.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING and not settings.remote_code:
        raise ConfigError(
            f"{settings.source!r} is built by Python files in its repository, which would run on this machine. Read "
            "them, then allow them with `remote_code: true` (and pin a `revision`)",
            key="remote_code",
        )
