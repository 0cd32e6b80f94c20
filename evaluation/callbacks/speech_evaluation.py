"""Validation by speaking: the model answers a fixed panel of prompts and is judged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from evaluation.callbacks.panel_files import write_panel
from evaluation.ceiling import VocodedReference
from evaluation.evaluator import Judged, Judges, judge_system, require_judges
from evaluation.judges import SpeakerEmbedder, TextScorer, Transcriber, require_independence
from evaluation.metrics import NORMALIZER_VERSION, SpokenMetric, all_metrics
from evaluation.metrics.names import CEILING, VALIDATION
from evaluation.rows import with_reference
from spectron.batch import SpeechBatch
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder
from spectron.errors import ConfigError
from spectron.tracking import Measure, RunLogger

DECODING = Decoding()


class SpeechEvaluation(Callback):
    """Lets the model speak at the end of a validation, and logs measures, wavs, pictures and a table of samples.

    The panel is the same at every validation. Training goes on as if none of this had happened: the module's mode and all random
    states are put back. With several ranks the first one works and the others wait.

    Args:
        transcriber: Judge that writes down what is heard.
        text_scorer: Judge of what was written down.
        speaker_embedder: Judge of voices.
        metrics: What to measure; None takes all for which the judges are there.
        decoding: How the model generates.
        panel_size: Prompts in the panel.
        audio_items: Prompts of the panel that get wavs and a picture.
        every_n_validations: Validations from one of these evaluations to the next; the last before ``max_steps`` always has one.
        ceiling: Also judge the recordings after the vocoder, once, as ``ceiling/...``.

    Raises:
        ConfigError: if a number is below 1, or a metric lacks its judge; at set-up, if the module does not speak, the data module
            has no panel, the logger is not a run's, or a judge shares weights with the model.
    """

    def __init__(
        self,
        transcriber: Transcriber | None = None,
        text_scorer: TextScorer | None = None,
        speaker_embedder: SpeakerEmbedder | None = None,
        metrics: list[SpokenMetric] | None = None,
        decoding: Decoding = DECODING,
        panel_size: int = 32,
        audio_items: int = 4,
        every_n_validations: int = 1,
        ceiling: bool = True,
    ) -> None:
        for name, value in {"panel_size": panel_size, "every_n_validations": every_n_validations}.items():
            if value < 1:
                raise ConfigError(f"SpeechEvaluation.{name} must be at least 1, got {value}")
        self.judges = Judges(transcriber, text_scorer, speaker_embedder)
        self.metrics = [metric for metric in all_metrics() if self.judges.serve(metric)] if metrics is None else metrics
        require_judges(self.metrics, self.judges)
        self.decoding = decoding
        self.panel_size = panel_size
        self.audio_items = audio_items
        self.every_n_validations = every_n_validations
        self.ceiling = ceiling
        self.panel: list[SpeechBatch] = []
        self.headlines: list[Path] = []
        self.validations = self.last_step = 0
        self.ceiling_measured = False

    def measure_names(self) -> set[str]:
        """All that this callback may log and that a ``monitor`` may name."""
        names = {VALIDATION + name for metric in self.metrics for name in metric.measure_names()}
        if self.ceiling:
            names |= {CEILING + name for metric in self.metrics if metric.judges_speech for name in metric.measure_names()}
        return names

    def state_dict(self) -> dict[str, int]:
        """Where the count of validations stands."""
        return {"validations": self.validations, "last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self.validations, self.last_step = state_dict["validations"], state_dict["last_step"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before anything is trained: see that all is there, load the judges, and see that none of them knows the model."""
        if stage not in ("fit", "validate") or not trainer.is_global_zero:
            return
        system_of(pl_module), logger_of(trainer), panel_source(trainer)
        with isolate_rng(), same_environment():
            for judge in self.judges.present().values():
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
                self.evaluate(trainer, pl_module)
            trainer.strategy.barrier("speech evaluation")

    def is_last(self, trainer: Trainer) -> bool:
        """Whether no further validation is to come: training ends sooner than the last two validations lie apart."""
        if trainer.state.fn == "validate" or trainer.should_stop:
            return True
        step = trainer.global_step
        return trainer.max_steps >= 0 and trainer.max_steps - step < step - self.last_step

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the model speak, judge, log."""
        logger, step = logger_of(trainer), trainer.global_step
        system = system_of(pl_module)
        with isolate_rng(), in_evaluation_mode(pl_module), trainer.precision_plugin.val_step_context():
            self.panel = self.panel or panel_source(trainer).panel(self.panel_size)
            teacher_forced = getattr(pl_module, "teacher_forced_mel", None)
            judged = judge_system(system, self.panel, self.decoding, self.judges, self.metrics, pl_module.device, teacher_forced)
            ceiling = [] if self.ceiling_measured or not self.ceiling else self.measure_ceiling(system, pl_module)
            self.ceiling_measured = True
        logger.log_measures([*judged.named(VALIDATION), *ceiling], step)
        self.write(judged, logger, step)

    def measure_ceiling(self, system: SpokenLanguageModel, pl_module: LightningModule) -> list[Measure]:
        """What the recordings of the panel reach after the vocoder; nothing where there is no recording, or no head with a vocoder."""
        head, vocoder = getattr(system, "head", None), getattr(system, "vocoder", None)
        recorded = [batch for batch in map(with_reference, self.panel) if batch.ids]
        if not isinstance(head, SpeechHead) or not isinstance(vocoder, Vocoder) or not recorded:
            return []
        reference = VocodedReference(head, vocoder, recorded, system.prompt_rate_hz)
        metrics = [metric for metric in self.metrics if metric.judges_speech]
        return judge_system(reference, recorded, self.decoding, self.judges, metrics, pl_module.device).named(CEILING)

    def write(self, judged: Judged, logger: RunLogger, step: int) -> None:
        """Leave the files in the run; its headlines are the newest picture and wavs in place of the last validation's."""
        place = f"panel/step-{step:07d}"
        files = write_panel(logger.folder / place, judged.samples, self.metrics, self.protocol(), self.audio_items)
        logger.headlines[:] = [path for path in logger.headlines if path not in self.headlines]
        self.headlines = [*files.spoken, *files.pictures[:1]]
        for path in [*files.spoken, *files.pictures, *files.others]:
            logger.log_artifact(path, place, headline=path in self.headlines)

    def protocol(self) -> dict[str, Any]:
        """How was measured: without this the figures mean nothing."""
        return {
            "judges": {name: judge.title for name, judge in self.judges.present().items()},
            "metrics": [type(metric).__name__ for metric in self.metrics],
            "text_normalizer_version": NORMALIZER_VERSION,
            "decoding": asdict(self.decoding),
            "panel": [name for batch in self.panel for name in batch.ids],
        }


def system_of(pl_module: LightningModule) -> SpokenLanguageModel:
    """The model that speaks."""
    system = getattr(pl_module, "model", None)
    if not isinstance(system, SpokenLanguageModel):
        raise ConfigError(
            f"SpeechEvaluation needs a task whose `model` continues speech (spectron.contracts.SpokenLanguageModel), and that of "
            f"{type(pl_module).__name__} does not: remove the callback (set it to null) or choose another task"
        )
    return system


def panel_source(trainer: Trainer) -> Any:
    """The data module, which chooses the prompts."""
    data = getattr(trainer, "datamodule", None)
    if not hasattr(data, "panel"):
        raise ConfigError(f"SpeechEvaluation takes its prompts from the data module's `panel(size)`, and {type(data).__name__} has none")
    return data


def logger_of(trainer: Trainer) -> RunLogger:
    """The run to log to."""
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            return logger
    raise ConfigError("SpeechEvaluation writes into a run: give the trainer a spectron.tracking.RunLogger")


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
