"""Base of the data modules of speech: manifests, training and validation batches, and the panel."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, cast

from lhotse import MonoCut
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from spectron.audio.resampling import SampleRates
from spectron.batch import SpeechBatch, SpokenLength
from spectron.datamodules.items import MAKER, BatchesOnDemand, ItemMaker, SpeechDataset
from spectron.datamodules.lines import Interleaved, LineBatches, LineSource, TextFiles, TextMix, WithText, in_order
from spectron.datamodules.manifest import choose, fingerprint, read_manifest, repeated
from spectron.datamodules.streaming import Batching, BucketedEpochs, EndlessDataModule
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.errors import ConfigError, DataError, TrainingError, about_file
from spectron.processes.ranks import everyone, known_to_all, rank, world
from spectron.ranges import CountOrZero, Range, checks_ranges

logger = logging.getLogger(__name__)

Repeat = Annotated[int, Range(1, 1000)]  # each one adds a copy of every item to an epoch


@checks_ranges
@dataclass
class Source:
    """Utterances of one split: manifests, split, name of the item maker, and number of uses per epoch."""

    manifests: list[str]
    split: str | None
    maker: str
    repeat: Repeat = 1


@checks_ranges
class SpeechDataModule(EndlessDataModule):
    """Base of the data modules of speech; a subclass defines the splits and the items.

    Args:
        makers: Makers of items by name.
        train: Training data, which are mixed.
        val: Validation data, with one loader each.
        batching: Size and order of batches.
        lower_case: Whether to convert transcripts to lower case.
        max_broken_files: Number of unreadable audio files at which training still continues.
        corpus: Synthetic corpus of the manifests, which is written before the first use.
        text: Text-only batches to mix into the training stream.

    Attributes:
        report: Number of used and dropped utterances, by split and reason.
        broken: Error of each unreadable utterance, by id.
        rates: Sample rates of the batches; None means those of the trained module.
    """

    def __init__(
        self,
        makers: dict[str, ItemMaker],
        train: Sequence[Source],
        val: Sequence[Source],
        batching: Batching,
        lower_case: bool,
        max_broken_files: CountOrZero,
        corpus: SyntheticCorpus | None,
        text: TextMix | None = None,
    ) -> None:
        super().__init__(batching.seed, batching.num_workers, corpus)
        twice = [source.split for number, source in enumerate(val) if source in val[:number]]
        if twice:
            raise ConfigError(f"`{twice[0]}` is named twice: its items would count twice", key="val_splits")
        self.text = text
        self.makers = makers
        self.train_sources, self.val_sources = train, val
        self.batching = batching
        self.lower_case = lower_case
        self.max_broken_files = max_broken_files
        self.report: dict[str, int] = {}
        self.broken: dict[str, str] = {}
        self.rates: SampleRates | None = None
        self.train_cuts: list[MonoCut] = []
        self.val_cuts: list[list[MonoCut]] = []
        self.train_lines: list[str] = []
        self.val_lines: list[str] = []

    def setup(self, stage: str) -> None:
        """Read the manifests and texts of a stage, and check every file that they name."""
        read: dict[str, list[MonoCut]] = {}
        if not self.val_cuts:
            self.val_cuts = [self._cuts(source, False, read) for source in self.val_sources]
        if stage == "fit" and not self.train_cuts:
            for source in self.train_sources:
                cuts = self._cuts(source, True, read)
                self.train_cuts += cuts + [
                    cut.with_id(f"{cut.id}#{time}") for time in range(2, source.repeat + 1) for cut in cuts
                ]

        if self.text is not None:
            if self.text.validation is not None and not self.val_lines:
                self.val_lines = self.text.read(self.text.validation)
            if stage == "fit" and not self.train_lines:
                self.train_lines = self.text.read(self.text.training)
                rank_zero_info(f"text alone: {len(self.train_lines)} lines, in {self.text.ratio:.0%} of the batches")

    def _cuts(self, source: Source, training: bool, read: dict[str, list[MonoCut]]) -> list[MonoCut]:
        """Return the usable utterances of a source, and report the dropped ones."""
        maker = self.makers[source.maker]
        for manifest in source.manifests:
            if manifest not in read:
                read[manifest] = read_manifest(manifest, self.lower_case)
        cuts = [cut for manifest in source.manifests for cut in read[manifest]]
        if twice := repeated(cut.id for cut in cuts):
            raise DataError(
                f"{', '.join(source.manifests)}: the id {twice[0]!r} is in several manifests ({len(twice)} such ids), "
                "but results need unique ids: add a prefix to the ids of one manifest"
            )
        with about_file(source.manifests[0]):
            kept, dropped = choose(
                cuts, source.split, lambda cut: maker.refuse(cut, training), ", ".join(source.manifests)
            )
        self._tell(source, len(kept), dropped)
        for cut in kept:
            cut.custom[MAKER] = source.maker
        return kept

    def _tell(self, source: Source, used: int, dropped: Counter[str]) -> None:
        split = source.split
        for what, count in {"used": used, **dropped}.items():
            self.report[f"{split}: {what}"] = self.report.get(f"{split}: {what}", 0) + count
        left_out = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
        lines = "lines without a split" if split is None else f"split {split}"
        rank_zero_info(
            f"{', '.join(source.manifests)}, {lines}: {used} utterances used{'; ' if left_out else ''}{left_out}"
        )

    def manifests(self) -> list[str]:
        """Return all manifests without repetition."""
        return sorted(
            {manifest for source in (*self.train_sources, *self.val_sources) for manifest in source.manifests}
        )

    def files(self) -> list[str]:
        """Return all manifests and text files."""
        return [
            *self.manifests(),
            *(file for source in self._lines_from() if isinstance(source, TextFiles) for file in source.files),
        ]

    def _lines_from(self) -> list[LineSource]:
        sources = (self.text.training, self.text.validation) if self.text else ()
        return [source for source in sources if source is not None]

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of every manifest, and the fingerprints of the text sources."""
        texts = {name: value for source in self._lines_from() for name, value in source.fingerprint().items()}
        return {manifest: fingerprint(manifest) for manifest in self.manifests()} | texts

    @cached_property
    def _data_fingerprint(self) -> str:
        described = [(cut.id, round(self.seconds(cut), 3)) for cut in self.train_cuts]
        # The number of processes that read the data does not change the stream.
        what = (described, self.epochs.limit.max_duration, replace(self.batching, num_workers=0))
        # Without text the hash is what it was before text could be mixed in, so that older checkpoints go on.
        mixed = (self.interleaved.batches.fingerprint, self.interleaved.share) if self.interleaved else ()
        return hashlib.sha256(repr((*what, *mixed)).encode()).hexdigest()

    def data_fingerprint(self) -> str:
        """Return a hash of the training utterances and the batching."""
        return self._data_fingerprint

    @cached_property
    def epochs(self) -> BucketedEpochs:
        """Return the training batches by epoch."""
        return BucketedEpochs(self.train_cuts, self.seconds, self.batching)

    def lengths(self, validation_only: bool = False) -> Iterator[SpokenLength]:
        """Return the possible lengths of all training and validation utterances."""
        for cuts in (*self.val_cuts, *([] if validation_only else [self.train_cuts])):
            for cut in cuts:
                yield from self.makers[cut.custom[MAKER]].lengths(cut)

    def lines(self) -> Iterator[str]:
        """Return all lines of text-only batches."""
        yield from self.train_lines
        yield from self.val_lines

    @cached_property
    def interleaved(self) -> Interleaved | None:
        """Return the text-only batches and their places; None without text."""
        if self.text is None:
            return None
        share = Fraction(self.text.ratio).limit_denominator(10_000)  # 0.1 is a tenth, not the nearest binary fraction
        lines = LineBatches(self.train_lines, self.text.batch_size, self.batching.seed)
        return Interleaved(lines, share, world())

    def seconds(self, cut: MonoCut) -> float:
        """Return the seconds of speech in the item of a cut."""
        return self.makers[cut.custom[MAKER]].seconds(cut)

    @property
    def dataset(self) -> SpeechDataset:
        """Return the dataset, which reads batches at the sample rates of the trained module."""
        rates = self.rates or cast(Any, self.trainer).lightning_module.sample_rates()
        return SpeechDataset(self.makers, rates, self.batching.seed)

    def train_dataloader(self) -> DataLoader:
        """Return the loader of the endless training stream."""
        return self.endless(WithText(self.dataset), self.epochs, self.interleaved)

    def val_dataloader(self) -> list[DataLoader]:
        """Return one loader per split, and one of text if there is any; the batches are equal every time."""
        batches: list[list[Any]] = [list(self._in_order(by_length(cuts, self.seconds))) for cuts in self.val_cuts]
        if self.text is not None and self.val_lines:
            batches.append([("validation", lines) for lines in in_order(self.val_lines, self.text.batch_size)])
        return [self.loader(WithText(self.dataset), self.share(of_one)) for of_one in batches]

    def _in_order(self, cuts: Sequence[MonoCut]) -> Iterator[tuple[str, list[MonoCut]]]:
        """Yield validation batches of cuts in their order; random choices depend only on the utterance."""
        limit = self.batching
        batch: list[MonoCut] = []
        longest = 0.0
        for cut in cuts:
            longest = max(longest, self.seconds(cut))
            if batch and (longest * (len(batch) + 1) > limit.batch_seconds or len(batch) == limit.max_items):
                yield "validation", batch
                batch, longest = [], self.seconds(cut)
            batch.append(cut)
        if batch:
            yield "validation", batch

    def _chosen(self, size: int | None) -> list[MonoCut]:
        """Return a fixed choice of validation items: all, or equally many of each split, evenly spaced."""
        chosen: list[MonoCut] = []
        for number, cuts in enumerate(self.val_cuts):
            share = len(cuts) if size is None else min(len(cuts), (size - len(chosen)) // (len(self.val_cuts) - number))
            chosen += [cuts[index * len(cuts) // share] for index in range(share)]
        return chosen

    def item_ids(self, size: int | None = None) -> list[str]:
        """Return the ids of the items of ``item_batches`` in the same order."""
        return [cut.id for cut in by_length(self._chosen(size), self.seconds)]

    def item_batches(self, size: int | None = None) -> BatchesOnDemand:
        """Return batches of all validation items, or of ``size`` items as in a panel.

        The items of a batch have similar lengths, and a batch is read on access.
        """
        return BatchesOnDemand(self.dataset, list(self._in_order(by_length(self._chosen(size), self.seconds))))

    def panel(self, size: int) -> list[SpeechBatch]:
        """Return CPU batches of a fixed choice of validation items: equally many of each split, evenly spaced."""
        dataset = self.dataset
        batches = [dataset[index] for index in self._in_order(self._chosen(size))]
        for batch in batches:
            self._note_broken(batch.skipped)
        return batches

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count unreadable items here, in the main process, because worker processes cannot."""
        skipped = batch.skipped if isinstance(batch, SpeechBatch) else []
        # The first process also knows those of the panel.
        self._note_broken([line for known in everyone([*self.broken.values(), *skipped]) for line in known])
        return batch

    def _note_broken(self, skipped: list[str]) -> None:
        """Log each broken file once, and stop above the limit; all processes that train note the same files.

        Raises:
            TrainingError: if more than ``max_broken_files`` files are broken.
        """
        new = [line for line in skipped if line.partition(": ")[0] not in self.broken]
        for line in new:
            self.broken[line.partition(": ")[0]] = line
            if rank() == 0:
                logger.warning("left out a broken utterance (%d so far): %s", len(self.broken), line)
        if new and self.trainer is not None and self.trainer.logger is not None:
            self.trainer.logger.log_metrics({"data/broken_files": len(self.broken)}, step=self.trainer.global_step)
        if len(self.broken) > self.max_broken_files:
            raise known_to_all(
                TrainingError(
                    f"{len(self.broken)} audio files are unreadable, more than max_broken_files="
                    f"{self.max_broken_files}; the last: {list(self.broken.values())[-1]}. Restore the files or raise "
                    "the limit"
                )
            )


def by_length(cuts: Sequence[MonoCut], seconds: Any) -> list[MonoCut]:
    """Return the cuts sorted by length, which reduces padding."""
    return sorted(cuts, key=lambda cut: (seconds(cut), cut.id))
