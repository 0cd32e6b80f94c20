"""Data module of plain text for language models, one example per line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from torch.utils.data import DataLoader

from spectron.datamodules.lines import LineBatches, TextFiles, WithText, in_order
from spectron.datamodules.manifest import normalised
from spectron.datamodules.streaming import EndlessDataModule
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.ranges import Count, Seed, checks_ranges


@checks_ranges
class TextDataModule(EndlessDataModule):
    """Batches of lines of text.

    Args:
        train: One or several text files to train on.
        val: Text file to validate on.
        batch_size: Lines per batch.
        lower_case: Whether to convert lines to lower case.
        seed: Seed of the order of lines.
        corpus: Synthetic corpus of the files, which is written before the first use.
    """

    def __init__(
        self,
        train: str | list[str],
        val: str,
        batch_size: Count = 32,
        lower_case: bool = True,
        seed: Seed = 17,
        corpus: SyntheticCorpus | None = None,
    ) -> None:
        super().__init__(seed, num_workers=0, corpus=corpus)
        self.train_files = [train] if isinstance(train, str) else list(train)
        self.val_file = val
        self.batch_size = batch_size
        self.lower_case = lower_case
        self.train_lines: list[str] = []
        self.val_lines: list[str] = []

    def setup(self, stage: str) -> None:
        """Read the files."""
        self.val_lines = self.val_lines or self._read(self.val_file)
        if stage == "fit" and not self.train_lines:
            self.train_lines = [line for file in self.train_files for line in self._read(file)]

    def _read(self, file: str) -> list[str]:
        return [normalised(line, self.lower_case) for line in TextFiles(file).lines()]

    def files(self) -> list[str]:
        """Return the text files."""
        return [*self.train_files, self.val_file]

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of every file."""
        return TextFiles(self.files()).fingerprint()

    def lines(self) -> Iterator[str]:
        """Yield every line of training and validation."""
        yield from self.train_lines
        yield from self.val_lines

    @cached_property
    def batches(self) -> LineBatches:
        """Return the training batches by epoch."""
        return LineBatches(self.train_lines, self.batch_size, self.seed)

    def data_fingerprint(self) -> str:
        """Return a hash of the training lines and the batching."""
        return self.batches.fingerprint

    def train_dataloader(self) -> DataLoader:
        """Return the loader of the endless training stream."""
        return self.endless(WithText(), self.batches.epoch)

    def val_dataloader(self) -> DataLoader:
        """Return the loader of all validation lines in order."""
        return self.loader(WithText(), self.share(list(enumerate(in_order(self.val_lines, self.batch_size)))))
