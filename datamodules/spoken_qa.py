"""Spoken questions with accepted answers, and spoken ones to learn from."""

from __future__ import annotations

from dataclasses import dataclass, field

from spectron.datamodules.items import ContinuationMaker, ItemMaker, QuestionMaker
from spectron.datamodules.lines import TextMix
from spectron.datamodules.speech import Source, SpeechDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.errors import ConfigError

QUESTION, CONTINUATION = "question", "continuation"


@dataclass
class ContinuationData:
    """Plain speech mixed into the training stream of questions, to be continued.

    Args:
        manifest: JSONL manifest.
        train_split: Split to train on.
        splitting: Where utterances are cut.
    """

    manifest: str
    train_split: str = "train"
    splitting: Splitting = field(default_factory=Splitting)


class SpokenQADataModule(SpeechDataModule):
    """Gives spoken questions as prompts and their spoken answers as continuations.

    A question without a spoken answer has an empty continuation in validation, and is not trained on.

    Args:
        manifest: JSONL manifest, or several.
        train_split: Split to train on; a test set that is only validated on needs none.
        val_splits: Splits to validate on.
        continuation_data: Other speech to train on in the same stream.
        repeat: How often a pass over the training data takes each question.
        batching: How batches are made; a question counts with its answer.
        max_seconds: Longer items are left out.
        lower_case: Whether transcripts are brought to lower case.
        max_broken_files: Audio files that may turn out unreadable before training stops.
        corpus: The synthetic corpus to write first, where the manifest belongs to one.
        text: Batches of text alone to mix into the training stream.
    """

    def __init__(
        self,
        manifest: str | list[str],
        val_splits: list[str],
        train_split: str = "train",
        continuation_data: ContinuationData | None = None,
        repeat: int = 1,
        batching: Batching | None = None,
        max_seconds: float = 20.0,
        lower_case: bool = True,
        max_broken_files: int = 10,
        corpus: SyntheticCorpus | None = None,
        text: TextMix | None = None,
    ) -> None:
        manifests = [manifest] if isinstance(manifest, str) else list(manifest)
        makers: dict[str, ItemMaker] = {QUESTION: QuestionMaker(max_seconds)}
        if repeat < 1:
            raise ConfigError(f"must be at least 1, got {repeat}", key="repeat")
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
