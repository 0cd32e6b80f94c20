"""What an experiment starts from, looked at before anything takes time: the folders or hub names of its parts and judges, their weights.

What callbacks read for themselves is looked at when the model is there, and still before a run is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning import LightningModule
from lightning.pytorch import Callback

from spectron.config.classes import is_users_own
from spectron.errors import CheckpointError
from spectron.experiment.experiment import Experiment
from spectron.weights.hub import locate
from spectron.weights.state_dicts import require_file


@runtime_checkable
class ChecksModule(Protocol):
    """A callback that works with some tasks only, or reads weights of its own."""

    def require_ready(self, pl_module: LightningModule) -> None:
        """Read them, and raise a ``ConfigError`` for what is wrong."""


def require_ready(experiment: Experiment, module: LightningModule, callbacks: Iterable[Callback]) -> None:
    """See that every callback has what it needs and can work with the module.

    Raises:
        ConfigError: naming the key of the callback, or of the part of it, that refuses.
    """
    for name, callback in zip(experiment.config["callbacks"], callbacks, strict=True):
        with experiment.document.part("callbacks", name).locating():
            if isinstance(callback, ChecksModule):
                callback.require_ready(module)


def require_sources(experiment: Experiment, weights: bool = True) -> None:
    """See that every ``source`` of a part or judge is at hand (a hub's is fetched now), and every file of ``weights``.

    A class of the user's own may mean anything by an argument of that name: it is left to its constructor.

    Args:
        experiment: What is to be built.
        weights: Whether it will be built with its ``weights``.

    Raises:
        ConfigError: naming the key of a source that is not there.
        CheckpointError: naming the key of a file that is not there.
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
