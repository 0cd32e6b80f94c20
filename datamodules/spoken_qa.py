"""Data module of spoken questions with accepted answers, and with spoken answers for training."""

from __future__ import annotations

from dataclasses import dataclass, field

from spectron.datamodules.items import ContinuationMaker, ItemMaker, QuestionMaker
from spectron.datamodules.lines import TextMix
from spectron.datamodules.speech import Repeat, Source, SpeechDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.ranges import CountOrZero, Seconds, checks_ranges

QUESTION, CONTINUATION = "question", "continuation"


@dataclass
class ContinuationData:
    """Speech continuation that is mixed into the training stream of questions.

    Args:
        manifest: JSONL manifest.
        train_split: Split to train on.
        splitting: Rules for the cut.
    """

    manifest: str
    train_split: str = "train"
    splitting: Splitting = field(default_factory=Splitting)


@checks_ranges
class SpokenQADataModule(SpeechDataModule):
    """Spoken questions as prompts, and their spoken answers as continuations.

    A question without a spoken answer has an empty continuation in validation, and is not used in training.

    Args:
        manifest: One or several JSONL manifests.
        train_split: Split to train on; it can be missing in a test set that is used only for validation.
        val_splits: Splits to validate on.
        continuation_data: Speech continuation to mix into the training stream.
        repeat: How often an epoch contains each question.
        batching: Size and order of batches; the duration of a question includes its answer.
        max_seconds: Longer items are left out.
        lower_case: Whether to convert transcripts to lower case.
        max_broken_files: Number of unreadable audio files at which training still continues.
        corpus: Synthetic corpus of the manifest, which is written before the first use.
        text: Text-only batches to mix into the training stream.
    """

    def __init__(
        self,
        manifest: str | list[str],
        val_splits: list[str],
        train_split: str = "train",
        continuation_data: ContinuationData | None = None,
        repeat: Repeat = 1,
        batching: Batching | None = None,
        max_seconds: Seconds = 20.0,
        lower_case: bool = True,
        max_broken_files: CountOrZero = 10,
        corpus: SyntheticCorpus | None = None,
        text: TextMix | None = None,
    ) -> None:
        manifests = [manifest] if isinstance(manifest, str) else list(manifest)
        makers: dict[str, ItemMaker] = {QUESTION: QuestionMaker(max_seconds)}
        train = [Source(manifests, train_split, QUESTION, repeat)]
        if continuation_data is not None:
            makers[CONTINUATION] = ContinuationMaker(continuation_data.splitting, max_seconds)
            train.append(Source([continuation_data.manifest], continuation_data.train_split, CONTINUATION))
        super().__init__(
            makers=makers,
            train=train,
            val=[Source(manifests, split, QUESTION) for split in val_splits],
            batching=batching or Batching(),
            lower_case=lower_case,
            max_broken_files=max_broken_files,
            corpus=corpus,
            text=text,
        )
