"""Validation of a vocoder on recordings, in comparison with other vocoders and the unprocessed recordings."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from lightning import LightningModule, Trainer

from spectron.audio.mel import MelConfig
from spectron.contracts import Vocoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.callbacks.panel_evaluation import PanelEvaluation, logger_of
from spectron.evaluation.evaluator import Judged, judge_system
from spectron.evaluation.judges import Judge
from spectron.evaluation.metrics import MelDistance, SpeechWordErrorRate, SpokenMetric, StftDistance
from spectron.evaluation.metrics.names import RECORDING, VALIDATION
from spectron.evaluation.systems.baselines import FixedAnswers, recordings
from spectron.ranges import Count, CountOrZero, checks_ranges
from spectron.tracking.measure import MetricValue
from spectron.training.vocoding import VocoderModel


@checks_ranges
class VocoderEvaluation(PanelEvaluation):
    """Callback that evaluates vocoded recordings at the end of a validation; see ``PanelEvaluation``.

    Args:
        judges: Judges by name, such as a recogniser.
        against: Other vocoders by name, evaluated once on the same recordings; their metrics are called ``<name>/...``.
        metrics: Metrics to compute; None computes mel distance, STFT distance and, with a recogniser, word errors.
        panel_size: Recordings in the panel.
        audio_items: Recordings of the panel that get wavs and a picture, for every vocoder.
        every_n_validations: Validations per evaluation; the last validation before ``max_steps`` is always evaluated.
    """

    def __init__(
        self,
        judges: dict[str, Judge] | None = None,
        against: dict[str, Callable[[MelConfig], Vocoder]] | None = None,
        metrics: list[SpokenMetric] | None = None,
        panel_size: Count = 32,
        audio_items: CountOrZero = 4,
        every_n_validations: Count = 1,
    ) -> None:
        possible: list[SpokenMetric] = [MelDistance(), StftDistance(), SpeechWordErrorRate()]
        super().__init__(judges, metrics, possible, panel_size, audio_items, every_n_validations)
        self.against = against or {}
        self.compared = False

    def measure_names(self) -> set[str]:
        """Return the names of all values that this callback may log and that a ``monitor`` may name."""
        prefixes = [VALIDATION, *(f"{name}/" for name in self.against)]
        names = {prefix + name for prefix in prefixes for metric in self.metrics for name in metric.measure_names()}
        return names | {
            RECORDING + name for metric in self.metrics if metric.judges_speech for name in metric.measure_names()
        }

    def require_fitting(self, pl_module: LightningModule) -> None:
        """Refuse a task that trains no vocoder."""
        model_of(pl_module)

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Judged]:
        """Evaluate the vocoder and, the first time, the vocoders and recordings that it is compared with."""
        own = model_of(pl_module).vocoder
        mel = cast(MelConfig, own.format)
        judged = {"": self.judge(own, pl_module, self.metrics)}
        measures = judged[""].named(VALIDATION)
        if not self.compared:
            judged |= {
                name: self.judge(make(mel).to(pl_module.device), pl_module, self.metrics)
                for name, make in self.against.items()
            }
            measures += [measure for name in self.against for measure in judged[name].named(f"{name}/")]
            measures += self.measure_recordings(pl_module)
        self.compared = True
        logger_of(trainer).log_measures(measures, trainer.global_step)
        return judged

    def measure_recordings(self, pl_module: LightningModule) -> list[MetricValue]:
        """Evaluate the unprocessed recordings."""
        metrics = [metric for metric in self.metrics if metric.judges_speech]
        return self.judge(None, pl_module, metrics).named(RECORDING) if metrics else []

    def judge(self, vocoder: Vocoder | None, pl_module: LightningModule, metrics: list[SpokenMetric]) -> Judged:
        """Evaluate the panel after one vocoder, or unprocessed."""
        model = model_of(pl_module)
        given = {name: spoken for batch in self.panel for name, spoken in recordings(batch).items()}
        mel, log_mel = cast(MelConfig, model.vocoder.format), model.log_mel
        copied = None if vocoder is None else lambda waveform, num_samples: vocoder(*log_mel(waveform, num_samples))
        system = FixedAnswers(given, log_mel, mel, copied, mel.sample_rate_hz)
        return judge_system(system, self.panel, Decoding(), self.judges, metrics, pl_module.device)


def model_of(pl_module: LightningModule) -> VocoderModel:
    """Return the vocoder in training.

    Raises:
        ConfigError: if the task trains none.
    """
    model = getattr(pl_module, "model", None)
    if not isinstance(model, VocoderModel):
        raise ConfigError(
            "this callback needs a task that trains a vocoder (spectron.training.VocoderModule), not "
            f"{type(pl_module).__name__}: set this callback to null or choose another task"
        )
    return model
