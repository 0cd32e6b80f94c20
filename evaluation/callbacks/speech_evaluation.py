"""Validation by speaking: the model answers a fixed panel of prompts and is judged."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from spectron.batch import with_reference
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder
from spectron.errors import ConfigError
from spectron.evaluation.callbacks.panel_evaluation import PanelEvaluation, logger_of
from spectron.evaluation.evaluator import Judged, Judges, judge_system
from spectron.evaluation.judges import QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber
from spectron.evaluation.metrics import SpokenMetric, all_metrics
from spectron.evaluation.metrics.names import CEILING, VALIDATION
from spectron.evaluation.systems.baselines import FixedAnswers, head_spectrogram, recordings
from spectron.tracking.measure import MetricValue

DECODING = Decoding()


class SpeechEvaluation(PanelEvaluation):
    """Lets the model speak at the end of a validation; see ``PanelEvaluation``.

    Args:
        transcriber: Judge that writes down what is heard.
        text_scorer: Judge of what was written down.
        speaker_embedder: Judge of voices.
        second_speaker_embedder: Another one, of another kind.
        quality_predictor: Predicts opinion scores; where its weights are not here, that is said and it is left out.
        metrics: What to measure; None takes all for which the judges are there.
        decoding: How the model generates.
        panel_size: Prompts in the panel.
        audio_items: Prompts of the panel that get wavs and a picture.
        every_n_validations: Validations from one of these evaluations to the next; the last before ``max_steps`` always has one.
        ceiling: Also judge the recordings after the vocoder, once, as ``ceiling/...``.
    """

    def __init__(
        self,
        transcriber: Transcriber | None = None,
        text_scorer: TextScorer | None = None,
        speaker_embedder: SpeakerEmbedder | None = None,
        second_speaker_embedder: SpeakerEmbedder | None = None,
        quality_predictor: QualityPredictor | None = None,
        metrics: list[SpokenMetric] | None = None,
        decoding: Decoding = DECODING,
        panel_size: int = 32,
        audio_items: int = 4,
        every_n_validations: int = 1,
        ceiling: bool = True,
    ) -> None:
        judges = Judges(transcriber, text_scorer, speaker_embedder, second_speaker_embedder, quality_predictor)
        for name, why in judges.absent().items():
            rank_zero_warn(f"SpeechEvaluation.{name} is left out: {why}")
            judges = replace(judges, **{name: None})
        chosen = [metric for metric in all_metrics() if judges.serve(metric)] if metrics is None else metrics
        super().__init__(judges, chosen, panel_size, audio_items, every_n_validations)
        self.decoding = decoding
        self.ceiling = ceiling
        self.ceiling_measured = False

    def measure_names(self) -> set[str]:
        """All that this callback may log and that a ``monitor`` may name."""
        names = {VALIDATION + name for metric in self.metrics for name in metric.measure_names()}
        if self.ceiling:
            names |= {
                CEILING + name for metric in self.metrics if metric.judges_speech for name in metric.measure_names()
            }
        return names

    def require_fitting(self, pl_module: LightningModule) -> None:
        """Refuse a task whose model does not speak."""
        system_of(pl_module)

    def evaluate(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Judged]:
        """Let the model speak, judge, log."""
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
        """What the recordings of the panel reach after the vocoder; nothing where there is no recording, or no head with a vocoder."""
        head, vocoder = getattr(system, "head", None), getattr(system, "vocoder", None)
        recorded = [batch for batch in map(with_reference, self.panel) if batch.ids]
        if not isinstance(head, SpeechHead) or not isinstance(vocoder, Vocoder) or not recorded:
            return []
        given = {name: spoken for batch in recorded for name, spoken in recordings(batch).items()}
        reference = FixedAnswers(given, head_spectrogram(head), head.mel, vocoder, system.prompt_rate_hz)
        metrics = [metric for metric in self.metrics if metric.judges_speech]
        return judge_system(reference, recorded, self.decoding, self.judges, metrics, pl_module.device).named(CEILING)

    def protocol(self) -> dict[str, Any]:
        """How was measured."""
        return super().protocol() | {"decoding": asdict(self.decoding)}


def system_of(pl_module: LightningModule) -> SpokenLanguageModel:
    """The model that speaks."""
    system = getattr(pl_module, "model", None)
    if not isinstance(system, SpokenLanguageModel):
        raise ConfigError(
            f"SpeechEvaluation needs a task whose `model` continues speech (spectron.contracts.SpokenLanguageModel), and that of "
            f"{type(pl_module).__name__} does not: remove the callback (set it to null) or choose another task"
        )
    return system
