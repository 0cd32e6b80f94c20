"""Tasks with spoken answers: continuation of speech, and spoken questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from lightning import LightningDataModule

from spectron.audio.io import to_16_bits
from spectron.batch import SpeechBatch, select, unpadded, with_reference
from spectron.context_length import lengths_of, require_fits_context
from spectron.contracts import SpeechHead, SpokenLanguageModel, Vocoder
from spectron.decoding import Decoding
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
from spectron.evaluation.systems.answering import answer
from spectron.evaluation.systems.baselines import as_system, recordings, shuffled_answers, silent_answers
from spectron.evaluation.systems.text_topline import TextTopline
from spectron.evaluation.tasks.task import MODEL, Bench, Curve, Task
from spectron.model import SpectronModel
from spectron.ranges import Count, checks_ranges

Baseline = Literal["recording", "vocoded", "silence", "shuffled", "written_question", "cascade"]
WRITTEN: Literal["written_question"] = "written_question"
CASCADE: Literal["cascade"] = "cascade"
BASELINES: tuple[Baseline, ...] = ("recording", "vocoded", "silence", "shuffled", WRITTEN, CASCADE)
DECODING = Decoding()


@checks_ranges
class SpeakingTask(Task):
    """Task in which the system, and its baselines and toplines, answer every prompt with speech.

    Args:
        data: See ``Task``.
        decoding: Decoding of the system.
        metrics: Metrics to compute; None takes all whose judges are available.
        baselines: Other systems to evaluate. ``recording`` (the true continuation) and ``vocoded`` (its spectrogram
            through the system's vocoder) are ceilings. ``silence`` and ``shuffled`` (the continuation of another
            prompt) are baselines. ``SpokenQuestions`` adds the toplines ``written_question`` and ``cascade``.
            Entries that the system does not allow are left out. An empty list evaluates the system only.
        num_items: See ``Task``.
        curve: See ``Task``.
    """

    def __init__(
        self,
        data: LightningDataModule,
        decoding: Decoding = DECODING,
        metrics: list[SummedMetric] | None = None,
        baselines: Sequence[Baseline] = BASELINES,
        num_items: Count | None = None,
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
        """Choose the metrics and read the manifests."""
        if self.takes_all_metrics:
            possible = [metric for metric in all_metrics() if isinstance(metric, SummedMetric)]
            self.metrics = metrics_served(possible, bench.judges)
        require_judges(self.metrics, bench.judges)
        names = [metric.label.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"{', '.join(twice)} is listed twice: remove one, or give it another name"
            raise ConfigError(message, key="metrics")
        super().prepare(bench)

    def systems(self, bench: Bench) -> list[str]:
        """Return the system under test and the possible baselines, without toplines."""
        impossible: set[str] = {WRITTEN, CASCADE}
        if _head(bench.system) is None or not isinstance(getattr(bench.system, "vocoder", None), Vocoder):
            impossible.add("vocoded")
        return [MODEL, *(name for name in self.baselines if name not in impossible)]

    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Answer, let each judge evaluate the answers once, and compute the parts of every metric."""
        batch = self.batches[place]
        batch = batch if rows is None else select(batch, rows)
        own = system == MODEL
        if own and isinstance(bench.system, SpectronModel):
            require_batch_fits_context(bench.system, batch, self.decoding)
        batch, answering = self.answering(system, batch, place, bench)
        # Teacher forcing uses the text of training, so it is meaningless without that text.
        teacher_forced = bench.teacher_forced if own and self.decoding.text in ("trained", "given") else None
        samples = answer(answering, [batch], self.decoding, bench.device, teacher_forced)
        as_stored(samples)
        consult(samples, bench.judges, bench.device)
        metrics = [metric for metric in self.metrics if own or metric.judges_speech]
        return [record_of(sample, metrics) for sample in samples]

    def answering(
        self, system: str, batch: SpeechBatch, place: int, bench: Bench
    ) -> tuple[SpeechBatch, SpokenLanguageModel]:
        """Return the rows that a system can answer, and the system."""
        if system == MODEL:
            return batch, bench.system
        batch = with_reference(batch)
        if system == "shuffled":
            following = self.batches[(place + 1) % len(self.batches)]
            answers = shuffled_answers(batch, with_reference(following))
            batch = select(batch, [row for row, name in enumerate(batch.ids) if name in answers])
        else:
            answers = silent_answers(batch) if system == "silence" else recordings(batch)
        return batch, as_system(bench.system, answers, bench.device, vocoded=system == "vocoded")


def _head(system: SpokenLanguageModel) -> SpeechHead | None:
    """Return the system's speech head, or None."""
    head = getattr(system, "head", None)
    return head if isinstance(head, SpeechHead) else None


def require_batch_fits_context(system: SpectronModel, batch: SpeechBatch, decoding: Decoding) -> None:
    """Check before decoding that every item fits the language model's context.

    Raises:
        DataError: if an item does not fit; it names the longest one. A ``ConfigError`` would stop the whole suite.
    """
    try:
        require_fits_context(system, lengths_of(system, batch), decoding)
    except ConfigError as error:
        raise DataError(str(error)) from error  # the item is wrong, not the suite


def as_stored(samples: list[SpokenSample]) -> None:
    """Round speech to 16 bits as in the wav files, so that every value can be computed again from the files."""
    for sample in samples:
        sample.prompt, sample.generated, sample.reference = map(
            to_16_bits, (sample.prompt, sample.generated, sample.reference)
        )


class Continuation(SpeakingTask):
    """Continuation of a spoken prompt: natural speech in the prompt's voice, with a continuation of its content."""


class SpokenQuestions(SpeakingTask):
    """Spoken questions: the transcript of the answer must contain an accepted answer.

    If the system is a ``SpectronModel``, there are two more toplines. ``written_question`` is its language model with
    the true question as text. ``cascade`` is its language model with the transcriber's transcript of the question.
    """

    def systems(self, bench: Bench) -> list[str]:
        """Return the system under test, its baselines, and its toplines."""
        possible = (
            ([WRITTEN, CASCADE] if transcriber_of(bench.judges) else [WRITTEN])
            if isinstance(bench.system, SpectronModel)
            else []
        )
        return [*super().systems(bench), *(name for name in possible if name in self.baselines)]

    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Judge a batch; toplines do not speak, so only metrics of their text are computed."""
        if system not in (WRITTEN, CASCADE):
            return super().judge(system, place, bench, rows)
        batch = self.batches[place]
        batch = batch if rows is None else select(batch, rows)
        asked = batch.prompt_text if system == WRITTEN else transcripts_of(batch, bench)
        topline = TextTopline(cast(SpectronModel, bench.system), dict(zip(batch.ids, asked, strict=True)))
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
    """Return the transcriber's transcripts of the prompts."""
    transcriber = transcriber_of(bench.judges)
    assert transcriber is not None  # `systems` lists no cascade without one
    with transcriber.at_work(bench.device):
        prompts = [row.to(bench.device) for row in unpadded(batch.prompt, batch.prompt_num_samples)]
        return transcriber.transcribe(prompts, bench.system.prompt_rate_hz)
