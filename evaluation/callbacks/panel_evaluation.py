"""Evaluation at validation time on a fixed panel of utterances: its schedule, and its files in the run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from spectron.batch import SpeechBatch
from spectron.errors import ConfigError, errors_of_part
from spectron.evaluation.callbacks.panel_files import write_panel
from spectron.evaluation.evaluator import Judged, metrics_served, require_judges
from spectron.evaluation.judges import Judge, Judges, require_independence
from spectron.evaluation.metrics import NORMALIZER_VERSION, SpokenMetric
from spectron.processes.ranks import of_first
from spectron.ranges import Count, CountOrZero, checks_ranges
from spectron.tracking.logger import RunLogger
from spectron.training.stopping import stoppable_at_once


@checks_ranges
class PanelEvaluation(Callback, ABC):
    """Base of callbacks that evaluate at the end of a validation and log metrics, wavs, pictures and a sample table.

    The panel is the same at every validation. An evaluation does not influence training: the module's mode and all
    random states are restored. With several ranks, the first one works and the others wait.

    Args:
        judges: Judges by name; an optional judge whose weights are missing is reported and left out.
        metrics: Metrics to compute; None computes all of ``possible`` whose evidence the judges give.
        possible: Metrics that suit what is evaluated.
        panel_size: Utterances in the panel.
        audio_items: Utterances of the panel that get wavs and a picture.
        every_n_validations: Validations per evaluation; the last validation before ``max_steps`` is always evaluated.

    Raises:
        ConfigError: if no judge gives the evidence that a metric or a judge needs; at
            set-up, if the module is of another kind, the data module has no panel, the logger is no ``RunLogger``, or a
            judge shares weights with the model.
    """

    def __init__(
        self,
        judges: dict[str, Judge] | None,
        metrics: list[SpokenMetric] | None,
        possible: list[SpokenMetric],
        panel_size: Count,
        audio_items: CountOrZero,
        every_n_validations: Count,
    ) -> None:
        absent = Judges(judges).absent()
        for name, why in absent.items():
            rank_zero_warn(f"judges.{name} is left out: {why}")
        self.judges = Judges({name: judge for name, judge in (judges or {}).items() if name not in absent})
        self.metrics = metrics_served(possible, self.judges) if metrics is None else metrics
        require_judges(self.metrics, self.judges)
        self.panel_size = panel_size
        self.audio_items = audio_items
        self.every_n_validations = every_n_validations
        self.panel: list[SpeechBatch] = []
        self.headlines: list[Path] = []
        self.validations = self.last_step = 0

    @abstractmethod
    def measure_names(self) -> set[str]:
        """Return the names of all values that this callback may log and that a ``monitor`` may name."""

    @abstractmethod
    def require_fitting(self, pl_module: LightningModule) -> None:
        """Refuse a task of another kind with a ``ConfigError``."""

    @abstractmethod
    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Judged]:
        """Evaluate the panel, log the metrics, and return what to write by folder; ``""`` is the model under test."""

    def state_dict(self) -> dict[str, int]:
        """Return the number of validations and the last step."""
        return {"validations": self.validations, "last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue to count validations."""
        self.validations, self.last_step = state_dict["validations"], state_dict["last_step"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the parts of an evaluation before training."""

        def check() -> None:
            logger_of(trainer), panel_source(trainer)
            self.require_ready(pl_module)

        if stage in ("fit", "validate"):
            of_first(check)

    def require_ready(self, pl_module: LightningModule) -> None:
        """Check the task, load the judges, and check that none of them shares weights with the model."""
        self.require_fitting(pl_module)
        with isolate_rng(), same_environment():
            for name, judge in self.judges.items():
                with errors_of_part(f"judges.{name}", judge):
                    judge.prepare()
        require_independence(list(self.judges.values()), pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate if it is due."""
        if trainer.sanity_checking:
            return
        self.validations += 1
        due = self.validations % self.every_n_validations == 0 or self.is_last(trainer)
        self.last_step = trainer.global_step
        of_first(lambda: self._evaluate_and_write(trainer, pl_module) if due else None)

    def _evaluate_and_write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the panel, which takes long and can be stopped at any moment, and write its files."""
        with (
            stoppable_at_once(trainer),
            isolate_rng(),
            in_evaluation_mode(pl_module),
            trainer.precision_plugin.val_step_context(),
        ):
            self.panel = self.panel or panel_source(trainer).panel(self.panel_size)
            judged = self.evaluate(trainer, pl_module)
        try:
            self.write(judged, logger_of(trainer), trainer.global_step)
        except Exception as error:  # files that people look at do not stop a training
            rank_zero_warn(f"the files of this validation are incomplete: {type(error).__name__}: {error}")

    def is_last(self, trainer: Trainer) -> bool:
        """Return whether this is the last validation: fewer steps remain than there were since the previous one."""
        if trainer.state.fn == "validate" or trainer.should_stop:
            return True
        step = trainer.global_step
        return trainer.max_steps >= 0 and trainer.max_steps - step < step - self.last_step

    def write(self, judged: dict[str, Judged], logger: RunLogger, step: int) -> None:
        """Write the files into the run; its headlines are the model's newest picture and wavs."""
        logger.headlines[:] = [path for path in logger.headlines if path not in self.headlines]
        for name, what in judged.items():
            place = f"panel/step-{step:07d}" + (f"/{name}" if name else "")
            files = write_panel(logger.folder / place, what.samples, self.metrics, self.protocol(), self.audio_items)
            self.headlines = self.headlines if name else [*files.spoken, *files.pictures[:1]]
            for path in [*files.spoken, *files.pictures, *files.others]:
                logger.log_artifact(path, place, headline=path in self.headlines)

    def protocol(self) -> dict[str, Any]:
        """Return the conditions of the evaluation, without which its values cannot be compared."""
        return {
            "judges": {name: judge.title for name, judge in self.judges.items()},
            "metrics": [type(metric).__name__ for metric in self.metrics],
            "text_normalizer_version": NORMALIZER_VERSION,
            "panel": [name for batch in self.panel for name in batch.ids],
        }


def panel_source(trainer: Trainer) -> Any:
    """Return the data module, which chooses the prompts.

    Raises:
        ConfigError: if it has no panel.
    """
    data = getattr(trainer, "datamodule", None)
    if not hasattr(data, "panel"):
        raise ConfigError(
            f"an evaluation needs a data module with a method `panel(size)`, and {type(data).__name__} has none"
        )
    return data


def logger_of(trainer: Trainer) -> RunLogger:
    """Return the logger of the run.

    Raises:
        ConfigError: if the trainer has no ``RunLogger``.
    """
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            return logger
    raise ConfigError("an evaluation writes into a run: give the trainer a spectron.tracking.RunLogger")


@contextmanager
def same_environment() -> Iterator[None]:
    """Restore environment variables: building an exported judge sets a seed there, which data workers would read."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; afterwards restore the mode of every submodule."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
