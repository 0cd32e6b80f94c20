"""Validation with generated speech: the model answers a fixed panel of prompts, and the judges assess the answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lightning import LightningModule, Trainer

from spectron.batch import with_reference
from spectron.contracts import SpeechHead, SpokenLanguageModel, Vocoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.callbacks.panel_evaluation import PanelEvaluation, logger_of
from spectron.evaluation.evaluator import Judged, judge_system
from spectron.evaluation.judges import Judge
from spectron.evaluation.metrics import SpokenMetric, all_metrics
from spectron.evaluation.metrics.names import CEILING, VALIDATION
from spectron.evaluation.systems.baselines import as_system, recordings
from spectron.ranges import Count, CountOrZero, checks_ranges
from spectron.tracking.measure import MetricValue

DECODING = Decoding()


@checks_ranges
class SpeechEvaluation(PanelEvaluation):
    """Callback that lets the model speak at the end of a validation; see ``PanelEvaluation``.

    Args:
        judges: Judges by name; an optional judge whose weights are missing is reported and left out.
        metrics: Metrics to compute; None computes all metrics whose evidence the judges give.
        decoding: How the model generates.
        panel_size: Prompts in the panel.
        audio_items: Prompts of the panel that get wavs and a picture.
        every_n_validations: Validations per evaluation; the last validation before ``max_steps`` is always evaluated.
        ceiling: Also evaluate the recordings after the vocoder, once, as ``ceiling/...``.
    """

    def __init__(
        self,
        judges: dict[str, Judge] | None = None,
        metrics: list[SpokenMetric] | None = None,
        decoding: Decoding = DECODING,
        panel_size: Count = 32,
        audio_items: CountOrZero = 4,
        every_n_validations: Count = 1,
        ceiling: bool = True,
    ) -> None:
        super().__init__(judges, metrics, all_metrics(), panel_size, audio_items, every_n_validations)
        self.decoding = decoding
        self.ceiling = ceiling
        self.ceiling_measured = False

    def measure_names(self) -> set[str]:
        """Return the names of all values that this callback may log and that a ``monitor`` may name."""
        names = {VALIDATION + name for metric in self.metrics for name in metric.measure_names()}
        if self.ceiling:
            names |= {
                CEILING + name for metric in self.metrics if metric.judges_speech for name in metric.measure_names()
            }
        return names

    def require_fitting(self, pl_module: LightningModule) -> None:
        """Refuse a task whose model does not generate speech."""
        system_of(pl_module)

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Judged]:
        """Let the model speak, consult the judges, and log the metrics."""
        system = system_of(pl_module)
        teacher_forced = getattr(pl_module, "teacher_forced_mel", None)
        judged = judge_system(
            system, self.panel, self.decoding, self.judges, self.metrics, pl_module.device, teacher_forced
        )
        ceiling = [] if self.ceiling_measured or not self.ceiling else self.measure_ceiling(system, pl_module)
        self.ceiling_measured = True
        logger_of(trainer).log_measures([*judged.named(VALIDATION), *ceiling], trainer.global_step)
        return {"": judged}

    def measure_ceiling(self, system: SpokenLanguageModel, pl_module: LightningModule) -> list[MetricValue]:
        """Evaluate the recordings of the panel after the vocoder; nothing without recordings or without a vocoder."""
        head, vocoder = getattr(system, "head", None), getattr(system, "vocoder", None)
        recorded = [batch for batch in map(with_reference, self.panel) if batch.ids]
        if not isinstance(head, SpeechHead) or not isinstance(vocoder, Vocoder) or not recorded:
            return []
        given = {name: spoken for batch in recorded for name, spoken in recordings(batch).items()}
        reference = as_system(system, given, pl_module.device, vocoded=True)
        metrics = [metric for metric in self.metrics if metric.judges_speech]
        return judge_system(reference, recorded, self.decoding, self.judges, metrics, pl_module.device).named(CEILING)

    def protocol(self) -> dict[str, Any]:
        """Return the conditions of the evaluation."""
        return super().protocol() | {"decoding": asdict(self.decoding)}


def system_of(pl_module: LightningModule) -> SpokenLanguageModel:
    """Return the model that generates speech.

    Raises:
        ConfigError: if the task has none.
    """
    system = getattr(pl_module, "model", None)
    if not isinstance(system, SpokenLanguageModel):
        raise ConfigError(
            "this callback needs a task whose `model` continues speech (spectron.contracts.SpokenLanguageModel), "
            f"and that of {type(pl_module).__name__} does not: set this callback to null or choose another task"
        )
    return system
