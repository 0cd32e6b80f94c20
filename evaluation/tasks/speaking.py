"""Tasks whose items are answered aloud: speech to continue, and spoken questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from lightning import LightningDataModule

from spectron.audio.io import to_16_bits
from spectron.batch import SpeechBatch, select, unpadded, with_reference
from spectron.context_length import lengths_of, require_fits_context
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder
from spectron.errors import ConfigError, DataError
from spectron.evaluation.evaluator import consult, metrics_served, require_judges
from spectron.evaluation.judges import Judges, Transcriber
from spectron.evaluation.metrics import (
    PromptCharacterErrorRate,
    PromptWordErrorRate,
    SummedMetric,
    WrittenAnswerAccuracy,
    all_metrics,
)
from spectron.evaluation.results.records import Record, record_of
from spectron.evaluation.sample import SpokenSample
from spectron.evaluation.systems.answering import FrontEnds, answer
from spectron.evaluation.systems.baselines import RecordedAnswers, exchanged, recordings_of, silences_of, spectrogram_of
from spectron.evaluation.systems.text_topline import WrittenAnswers
from spectron.evaluation.tasks.task import MODEL, Bench, Curve, Task
from spectron.model import SpectronModel

Baseline = Literal["recording", "vocoded", "silence", "shuffled", "written_question", "cascade"]
WRITTEN: Literal["written_question"] = "written_question"
CASCADE: Literal["cascade"] = "cascade"
BASELINES: tuple[Baseline, ...] = ("recording", "vocoded", "silence", "shuffled", WRITTEN, CASCADE)
DECODING = Decoding()


class SpeakingTask(Task):
    """Lets the system answer every prompt, with its ceilings and floors beside it.

    Args:
        data: See ``Task``.
        decoding: How the system generates.
        metrics: What is measured; None takes all for which the judges are there.
        baselines: What stands beside the system: the ``recording`` of what followed, the same ``vocoded`` (from the speech head's
            spectrogram, where the system has one), ``silence``, and ``shuffled``, what followed another prompt; beside questions
            also the toplines of ``SpokenQuestions``. What there cannot be is left out; an empty list leaves the system alone.
        num_items: See ``Task``.
        curve: See ``Task``.
    """

    def __init__(
        self,
        data: LightningDataModule,
        decoding: Decoding = DECODING,
        metrics: list[SummedMetric] | None = None,
        baselines: Sequence[Baseline] = BASELINES,
        num_items: int | None = None,
        curve: Curve | None = None,
    ) -> None:
        possible = (
            [metric for metric in all_metrics() if isinstance(metric, SummedMetric)] if metrics is None else metrics
        )
        super().__init__(data, possible, num_items, curve)
        self.takes_all_metrics = metrics is None
        self.decoding = decoding
        self.baselines = baselines

    def prepare(self, bench: Bench) -> None:
        """Choose the metrics, and read the data's manifests."""
        if self.takes_all_metrics:
            possible = [metric for metric in all_metrics() if isinstance(metric, SummedMetric)]
            self.metrics = metrics_served(possible, bench.judges)
        require_judges(self.metrics, bench.judges)
        require_one_of_each(self.metrics)
        super().prepare(bench)

    def systems(self, bench: Bench) -> list[str]:
        """The system under test and the baselines that there can be."""
        head, vocoder = _head(bench.system), getattr(bench.system, "vocoder", None)
        can_vocode = head is not None and isinstance(vocoder, Vocoder)
        return [
            MODEL,
            *(name for name in self.baselines if name not in (WRITTEN, CASCADE) and (name != "vocoded" or can_vocode)),
        ]

    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Answer, let each judge look once, and take every metric's parts."""
        batch = self.batches[place]
        batch = batch if rows is None else select(batch, rows)
        own = system == MODEL
        if own and isinstance(bench.system, SpectronModel):
            require_batch_fits_context(bench.system, batch, self.decoding)
        batch, answering = self.answering(system, batch, place, bench)
        # Teacher forcing reads the text that training put there, and would say nothing of a chain that takes it away.
        teacher_forced = bench.teacher_forced if own and self.decoding.chain in ("trained", "given") else None
        samples = answer(answering, [batch], self.decoding, bench.device, teacher_forced)
        as_stored(samples)
        consult(samples, bench.judges, bench.device)
        metrics = [metric for metric in self.metrics if own or metric.judges_speech]
        return [record_of(sample, metrics) for sample in samples]

    def answering(
        self, system: str, batch: SpeechBatch, place: int, bench: Bench
    ) -> tuple[SpeechBatch, SpokenLanguageModel]:
        """The rows that a system can answer, and the system."""
        if system == MODEL:
            return batch, bench.system
        batch = with_reference(batch)
        if system == "shuffled":
            following = self.batches[(place + 1) % len(self.batches)]
            given = exchanged(batch, with_reference(following))
            batch = select(batch, [row for row, name in enumerate(batch.ids) if name in given])
        else:
            given = silences_of(batch) if system == "silence" else recordings_of(batch)
        vocoder = bench.system.vocoder if system == "vocoded" else None  # type: ignore[attr-defined]
        front_ends = FrontEnds(bench.system, bench.device)
        head = _head(bench.system)
        spectrogram = front_ends.speech if head is None else spectrogram_of(head)
        return batch, RecordedAnswers(given, spectrogram, front_ends.settings, vocoder, bench.system.prompt_rate_hz)


def _head(system: SpokenLanguageModel) -> SpeechHead | None:
    """The system's speech head, where it has one."""
    head = getattr(system, "head", None)
    return head if isinstance(head, SpeechHead) else None


def require_batch_fits_context(system: SpectronModel, batch: SpeechBatch, decoding: Decoding) -> None:
    """Refuse items that do not fit the language model's positions, before they are encoded.

    Raises:
        DataError: naming the longest item; a ``ConfigError`` would stop the whole suite.
    """
    try:
        require_fits_context(system, lengths_of(system, batch), decoding)
    except ConfigError as error:
        raise DataError(str(error)) from error


def as_stored(samples: list[SpokenSample]) -> None:
    """Round speech to what the wavs hold, so that every figure can be computed again from them."""
    for sample in samples:
        sample.prompt, sample.generated, sample.reference = map(
            to_16_bits, (sample.prompt, sample.generated, sample.reference)
        )


def require_one_of_each(metrics: Sequence[SummedMetric]) -> None:
    """Refuse two metrics of one name, whose results could not be told apart."""
    names = [metric.label.name for metric in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"metrics: {', '.join(twice)} is there twice. Leave one out, or give it another name")


class Continuation(SpeakingTask):
    """Speech to continue: what is said must sound like speech, in the voice of the prompt, and go on from it."""


class SpokenQuestions(SpeakingTask):
    """Spoken questions: an accepted answer must be heard.

    Beside the baselines stand two toplines, for systems of the kind of a ``SpectronModel``: ``written_question``, the language model
    given the true question as text, and, with a transcriber, ``cascade``, the same given the transcript of the question.
    """

    def systems(self, bench: Bench) -> list[str]:
        """The system under test, its baselines, and its toplines."""
        possible = (
            ([WRITTEN, CASCADE] if transcriber_of(bench.judges) else [WRITTEN])
            if isinstance(bench.system, SpectronModel)
            else []
        )
        return [*super().systems(bench), *(name for name in possible if name in self.baselines)]

    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Toplines write and do not speak: what they write is measured alone."""
        if system not in (WRITTEN, CASCADE):
            return super().judge(system, place, bench, rows)
        batch = self.batches[place]
        batch = batch if rows is None else select(batch, rows)
        asked = batch.prompt_text if system == WRITTEN else transcripts_of(batch, bench)
        topline = WrittenAnswers(cast(SpectronModel, bench.system), dict(zip(batch.ids, asked, strict=True)))
        samples = answer(topline, [batch], self.decoding, bench.device)
        kinds = (
            (WrittenAnswerAccuracy,)
            if system == WRITTEN
            else (WrittenAnswerAccuracy, PromptWordErrorRate, PromptCharacterErrorRate)
        )
        return [
            record_of(sample, [metric for metric in self.metrics if isinstance(metric, kinds)]) for sample in samples
        ]


def transcriber_of(judges: Judges) -> Transcriber | None:
    """Return the first judge that transcribes speech."""
    return next((judge for judge in judges.values() if isinstance(judge, Transcriber)), None)


def transcripts_of(batch: SpeechBatch, bench: Bench) -> list[str]:
    """What the transcriber hears in the prompts."""
    transcriber = transcriber_of(bench.judges)
    assert transcriber is not None  # or there is no cascade
    with transcriber.at_work(bench.device):
        prompts = [row.to(bench.device) for row in unpadded(batch.prompt, batch.prompt_num_samples)]
        return transcriber.transcribe(prompts, bench.system.prompt_rate_hz)
