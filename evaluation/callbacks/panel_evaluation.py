"""Evaluation at validation time on a fixed panel of utterances: when it is due, and what it leaves in the run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from spectron.batch import SpeechBatch
from spectron.errors import ConfigError, errors_of_part
from spectron.evaluation.callbacks.panel_files import write_panel
from spectron.evaluation.evaluator import Judged, Judges, require_judges
from spectron.evaluation.judges import require_independence
from spectron.evaluation.metrics import NORMALIZER_VERSION, SpokenMetric
from spectron.tracking.logger import RunLogger


class PanelEvaluation(Callback, ABC):
    """Evaluates at the end of a validation, and logs measures, wavs, pictures and a table of samples.

    The panel is the same at every validation. Training goes on as if none of this had happened: the module's mode and all random
    states are put back. With several ranks the first one works and the others wait.

    Args:
        judges: The judges at hand.
        metrics: What to measure.
        panel_size: Utterances in the panel.
        audio_items: Utterances of the panel that get wavs and a picture.
        every_n_validations: Validations from one of these evaluations to the next; the last before ``max_steps`` always has one.

    Raises:
        ConfigError: if a number is below 1, or a metric lacks its judge; at set-up, if the module is of another kind, the data
            module has no panel, the logger is not a run's, or a judge shares weights with the model.
    """

    def __init__(
        self, judges: Judges, metrics: list[SpokenMetric], panel_size: int, audio_items: int, every_n_validations: int
    ) -> None:
        for name, value in {"panel_size": panel_size, "every_n_validations": every_n_validations}.items():
            if value < 1:
                raise ConfigError(f"must be at least 1, got {value}", key=name)
        require_judges(metrics, judges)
        self.judges, self.metrics = judges, metrics
        self.panel_size = panel_size
        self.audio_items = audio_items
        self.every_n_validations = every_n_validations
        self.panel: list[SpeechBatch] = []
        self.headlines: list[Path] = []
        self.validations = self.last_step = 0

    @abstractmethod
    def measure_names(self) -> set[str]:
        """All that this callback may log and that a ``monitor`` may name."""

    @abstractmethod
    def require_fitting(self, pl_module: LightningModule) -> None:
        """Refuse a task that is not of the kind evaluated here. Raises a ``ConfigError``."""

    @abstractmethod
    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Judged]:
        """Judge the panel and log the measures; what the files shall show, by folder, the model under test in ``""``."""

    def state_dict(self) -> dict[str, int]:
        """Where the count of validations stands."""
        return {"validations": self.validations, "last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self.validations, self.last_step = state_dict["validations"], state_dict["last_step"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before anything is trained, see that all is there."""
        if stage in ("fit", "validate") and trainer.is_global_zero:
            logger_of(trainer), panel_source(trainer)
            self.require_ready(pl_module)

    def require_ready(self, pl_module: LightningModule) -> None:
        """See that the task is of the right kind, load the judges, and see that none of them knows the model."""
        self.require_fitting(pl_module)
        with isolate_rng(), same_environment():
            for name, judge in self.judges.present().items():
                with errors_of_part(name, judge):
                    judge.prepare()
        require_independence(list(self.judges.present().values()), pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate where it is due."""
        if trainer.sanity_checking:
            return
        self.validations += 1
        due = self.validations % self.every_n_validations == 0 or self.is_last(trainer)
        self.last_step = trainer.global_step
        if due:
            if trainer.is_global_zero:
                with isolate_rng(), in_evaluation_mode(pl_module), trainer.precision_plugin.val_step_context():
                    self.panel = self.panel or panel_source(trainer).panel(self.panel_size)
                    judged = self.evaluate(trainer, pl_module)
                self.write(judged, logger_of(trainer), trainer.global_step)
            trainer.strategy.barrier("panel evaluated")

    def is_last(self, trainer: Trainer) -> bool:
        """Whether no further validation is to come: training ends sooner than the last two validations lie apart."""
        if trainer.state.fn == "validate" or trainer.should_stop:
            return True
        step = trainer.global_step
        return trainer.max_steps >= 0 and trainer.max_steps - step < step - self.last_step

    def write(self, judged: dict[str, Judged], logger: RunLogger, step: int) -> None:
        """Leave the files in the run; its headlines are the model's newest picture and wavs in place of the last validation's."""
        logger.headlines[:] = [path for path in logger.headlines if path not in self.headlines]
        for name, what in judged.items():
            place = f"panel/step-{step:07d}" + (f"/{name}" if name else "")
            files = write_panel(logger.folder / place, what.samples, self.metrics, self.protocol(), self.audio_items)
            self.headlines = self.headlines if name else [*files.spoken, *files.pictures[:1]]
            for path in [*files.spoken, *files.pictures, *files.others]:
                logger.log_artifact(path, place, headline=path in self.headlines)

    def protocol(self) -> dict[str, Any]:
        """How was measured: without this the figures mean nothing."""
        return {
            "judges": {name: judge.title for name, judge in self.judges.present().items()},
            "metrics": [type(metric).__name__ for metric in self.metrics],
            "text_normalizer_version": NORMALIZER_VERSION,
            "panel": [name for batch in self.panel for name in batch.ids],
        }


def panel_source(trainer: Trainer) -> Any:
    """The data module, which chooses the prompts."""
    data = getattr(trainer, "datamodule", None)
    if not hasattr(data, "panel"):
        raise ConfigError(
            f"an evaluation takes its utterances from the data module's `panel(size)`, and {type(data).__name__} has none"
        )
    return data


def logger_of(trainer: Trainer) -> RunLogger:
    """The run to log to."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            return logger
    raise ConfigError("an evaluation writes into a run: give the trainer a spectron.tracking.logger.RunLogger")


@contextmanager
def same_environment() -> Iterator[None]:
    """Environment variables as they were: building a judge from an export leaves its seed there, which data workers would read."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every submodule is in the mode that it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
