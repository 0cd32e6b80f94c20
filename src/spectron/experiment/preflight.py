"""Steps that come before a run is opened, so that a mistake leaves no run behind; the cheap steps come first.

In order: the processes join, sources and weights exist, the data module writes its files, callbacks fit the model,
manifests are valid. A mistake that one process finds ends all of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from spectron.config.classes import is_users_own
from spectron.context_length import ChecksContext
from spectron.decoding import Decoding
from spectron.errors import CheckpointError, DataError
from spectron.experiment.experiment import Experiment
from spectron.processes.children import environment_of_child
from spectron.processes.ranks import all_or_none, everyone, known_to_all, of_first
from spectron.weights.hub import locate
from spectron.weights.state_dicts import require_file


@runtime_checkable
class ChecksModule(Protocol):
    """A callback that works with some tasks only, or reads its own weights."""

    def require_ready(self, pl_module: LightningModule) -> None:
        """Read the weights, and raise a ``ConfigError`` if they or the task do not fit."""


@runtime_checkable
class ChecksTexts(Protocol):
    """A task that cannot learn every text."""

    def require_usable_texts(self, data: Any) -> None:
        """Raise a ``DataError`` for texts that the task cannot learn, and report what it leaves out of texts."""


@runtime_checkable
class HasFingerprint(Protocol):
    """A data module whose training data have a hash."""

    def data_fingerprint(self) -> str:
        """Return a hash of the training data and their order."""


def join_processes(experiment: Experiment) -> None:
    """Start the other processes of an experiment, unless the user or SLURM starts them, and wait until all are there.

    Lightning does this only when the training begins: until then each process would decide alone.

    Raises:
        ConfigError: if Lightning refuses the arguments of the trainer.
    """
    strategy = experiment.trainer().strategy
    if strategy.launcher is not None:
        child = environment_of_child(signal.SIGKILL)  # other processes than the first one have nothing to save
        os.environ.update(child)
        strategy.launcher.launch(strategy.setup_environment)
        for name in child:
            del os.environ[name]


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
    for part in experiment.document.parts("model") + experiment.document.parts("callbacks"):
        arguments = part.plain_arguments()
        if arguments.get("source") is not None and not is_users_own(part.cls):
            with part.locating():
                locate(arguments["source"], arguments.get("revision"), bool(arguments.get("remote_code")))
    for name, file in experiment.config["weights"].items() if weights else ():
        try:
            require_file(Path(file), name)
        except CheckpointError as error:
            raise error.within("", experiment.document.where(("weights", name))) from error


def prepare_data(experiment: Experiment) -> LightningDataModule:
    """Build the data module and let it write its files; a tokenizer of the model may be trained on that text.

    Raises:
        DataError: naming the key of a file that is missing.
    """
    with all_or_none():
        data = experiment.data()

    def write() -> None:
        with experiment.document.naming_files("data"):
            data.prepare_data()

    of_first(write)
    return data


@rank_zero_only
def require_ready(experiment: Experiment, module: LightningModule, callbacks: Iterable[Callback]) -> None:
    """Check that every callback has what it needs and works with the module.

    Raises:
        ConfigError: naming the key of the callback, or of its part, that refuses.
    """
    for name, callback in zip(experiment.config["callbacks"], callbacks, strict=True):
        with experiment.document.part("callbacks", name).locating():
            if isinstance(callback, ChecksModule):
                callback.require_ready(module)


def set_up_data(
    experiment: Experiment, trainer: Trainer, module: LightningModule, data: LightningDataModule, stage: str
) -> None:
    """Let the data module read and check its manifests before anything is recorded.

    Raises:
        DataError: for missing or broken data, for texts that the task cannot learn, for an utterance or a line that is
            too long for the language model, and if the processes find different data.
    """
    # Trainer, module and data refer to each other as in a fit: the data module asks the module for its sample rates.
    trainer.strategy.connect(module)
    module.trainer = data.trainer = trainer
    with all_or_none():
        with experiment.document.naming_files("data"):
            data.setup(stage)
        if isinstance(module, ChecksTexts):
            module.require_usable_texts(data)
        if isinstance(module, ChecksContext):
            decodings = [getattr(callback, "decoding", None) for callback in cast(Any, trainer).callbacks]
            module.require_fits_context(data, [decoding for decoding in decodings if isinstance(decoding, Decoding)])
    if stage == "fit" and isinstance(data, HasFingerprint):
        with all_or_none():
            fingerprint = data.data_fingerprint()
        if len(set(everyone(fingerprint))) > 1:
            raise known_to_all(
                DataError("the processes read different training data: give all machines the same files", key="data")
            )
