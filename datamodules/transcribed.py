"""Data module of whole utterances with transcripts, to train a recogniser."""

from __future__ import annotations

from spectron.datamodules.items import TranscriptionMaker
from spectron.datamodules.speech import Source, SpeechDataModule
from spectron.datamodules.streaming import Batching
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.ranges import CountOrZero, Seconds, checks_ranges

TRANSCRIPTION = "transcription"


@checks_ranges
class TranscribedSpeechDataModule(SpeechDataModule):
    """Whole utterances as prompts, with their transcripts as prompt texts.

    Args:
        manifest: One or several JSONL manifests.
        train_split: Split to train on.
        val_split: Split to validate on.
        batching: Size and order of batches.
        max_seconds: Longer utterances are left out.
        lower_case: Whether to convert transcripts to lower case.
        max_broken_files: Number of unreadable audio files at which training still continues.
        corpus: Synthetic corpus of the manifest, which is written before the first use.
    """

    def __init__(
        self,
        manifest: str | list[str],
        train_split: str = "train",
        val_split: str = "dev",
        batching: Batching | None = None,
        max_seconds: Seconds = 20.0,
        lower_case: bool = True,
        max_broken_files: CountOrZero = 10,
        corpus: SyntheticCorpus | None = None,
    ) -> None:
        manifests = [manifest] if isinstance(manifest, str) else list(manifest)
        super().__init__(
            makers={TRANSCRIPTION: TranscriptionMaker(max_seconds)},
            train=[Source(manifests, train_split, TRANSCRIPTION)],
            val=[Source(manifests, val_split, TRANSCRIPTION)],
            batching=batching or Batching(),
            lower_case=lower_case,
            max_broken_files=max_broken_files,
            corpus=corpus,
        )
