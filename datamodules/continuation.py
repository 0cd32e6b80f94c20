"""Data module of speech continuation: the first seconds are the prompt, the rest is the continuation."""

from __future__ import annotations

from spectron.datamodules.items import ContinuationMaker
from spectron.datamodules.lines import TextMix
from spectron.datamodules.speech import Source, SpeechDataModule
from spectron.datamodules.splitting import Splitting
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.ranges import CountOrZero, Seconds, checks_ranges

CONTINUATION = "continuation"


@checks_ranges
class ContinuationDataModule(SpeechDataModule):
    """Utterances that are cut into prompt and continuation, with the transcripts of both.

    Args:
        manifest: One or several JSONL manifests.
        train_split: Split to train on.
        val_split: Split to validate on.
        splitting: Rules for the cut.
        batching: Size and order of batches.
        max_seconds: Longer utterances are left out.
        lower_case: Whether to convert transcripts to lower case.
        max_broken_files: Number of unreadable audio files at which training still continues.
        corpus: Synthetic corpus of the manifest, which is written before the first use.
        text: Text-only batches to mix into the training stream.
    """

    def __init__(
        self,
        manifest: str | list[str],
        train_split: str = "train",
        val_split: str = "dev",
        splitting: Splitting | None = None,
        batching: Batching | None = None,
        max_seconds: Seconds = 20.0,
        lower_case: bool = True,
        max_broken_files: CountOrZero = 10,
        corpus: SyntheticCorpus | None = None,
        text: TextMix | None = None,
    ) -> None:
        manifests = [manifest] if isinstance(manifest, str) else list(manifest)
        super().__init__(
            makers={CONTINUATION: ContinuationMaker(splitting or Splitting(), max_seconds)},
            train=[Source(manifests, train_split, CONTINUATION)],
            val=[Source(manifests, val_split, CONTINUATION)],
            batching=batching or Batching(),
            lower_case=lower_case,
            max_broken_files=max_broken_files,
            corpus=corpus,
            text=text,
        )
