"""Steps that come before a run is opened, so that a mistake leaves no run behind; the cheap steps come first.

In order: sources and weights exist, the data module writes its files, callbacks fit the model, manifests are valid.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from spectron.config.building import explaining, naming_files
from spectron.config.error_location import Section, is_users_own
from spectron.context_length import ChecksContext
from spectron.contracts import Decoding
from spectron.errors import CheckpointError, ConfigError
from spectron.experiment.experiment import Experiment
from spectron.weights.hub import locate
from spectron.weights.state_dicts import require_file


@runtime_checkable
class ChecksModule(Protocol):
    """A callback that works with some tasks only, or reads its own weights."""

    def require_ready(self, pl_module: LightningModule) -> None:
        """Read the weights, and raise a ``ConfigError`` if they or the task do not fit."""


def require_sources(experiment: Experiment, weights: bool = True) -> None:
    """Check that every ``source`` of a part or judge and every file of ``weights`` exists; fetch sources from the hub.

    A user's own class may use an argument named ``source`` for anything: its constructor checks it.

    Args:
        experiment: What is to be built.
        weights: Whether it will be built with its ``weights``.

    Raises:
        ConfigError: naming the key of a source that does not exist.
        CheckpointError: naming the key of a file that does not exist.
    """
    sections = [
        Section("model", experiment.config["model"], experiment.task),
        Section("callbacks", experiment.config["callbacks"]),
    ]
    for path, cls, arguments in (part for section in sections for part in section.parts()):
        if arguments.get("source") is None or is_users_own(cls):
            continue
        try:
            locate(arguments["source"], arguments.get("revision"), bool(arguments.get("remote_code")))
        except ConfigError as error:
            key = (*path, "init_args")
            raise ConfigError(f"{'.'.join(key)}.{error} (in {experiment.where((*key, 'source'))})") from error
    for name, file in experiment.config["weights"].items() if weights else ():
        try:
            require_file(Path(file), name)
        except CheckpointError as error:
            raise CheckpointError(f"{error} (in {experiment.where(('weights', name))})") from error


def prepare_data(experiment: Experiment) -> LightningDataModule:
    """Build the data module and let it write its files; a tokenizer of the model may be trained on that text.

    Raises:
        DataError: naming the key of a file that is missing.
    """
    data = experiment.data()
    with naming_files(Section("data", experiment.config["data"]), experiment.where):
        rank_zero_only(data.prepare_data)()
    return data


@rank_zero_only
def require_ready(experiment: Experiment, module: LightningModule, callbacks: Iterable[Callback]) -> None:
    """Check that every callback has what it needs and works with the module.

    Raises:
        ConfigError: naming the key of the callback, or of its part, that refuses.
    """
    with explaining(Section("callbacks", experiment.config["callbacks"]), experiment.where):
        for callback in callbacks:
            if isinstance(callback, ChecksModule):
                callback.require_ready(module)


def set_up_data(
    experiment: Experiment, trainer: Trainer, module: LightningModule, data: LightningDataModule, stage: str
) -> None:
    """Let the data module read and check its manifests before anything is recorded.

    Raises:
        DataError: for missing or broken data, and for an utterance or a line that is too long for the language model.
    """
    # Trainer, module and data refer to each other as in a fit: the data module asks the module for its sample rates.
    trainer.strategy.connect(module)
    module.trainer = data.trainer = trainer
    trainer.strategy.barrier("data prepared")
    with naming_files(Section("data", experiment.config["data"]), experiment.where):
        data.setup(stage)
    if isinstance(module, ChecksContext):
        decodings = [getattr(callback, "decoding", None) for callback in cast(Any, trainer).callbacks]
        module.require_fits_context(data, [decoding for decoding in decodings if isinstance(decoding, Decoding)])
