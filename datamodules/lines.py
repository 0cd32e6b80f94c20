"""Lines of text: sources, batches, and mixing into a stream of speech."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from torch.utils.data import Dataset

from spectron.datamodules.manifest import fingerprint, normalised
from spectron.errors import ConfigError, DataError
from spectron.randomness import seed_of
from spectron.ranges import Count, Range, checks_ranges
from spectron.text_files import read_texts


class LineSource(ABC):
    """Source of lines of text to train on."""

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """Return the lines, every time equal and in the same order."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Return hashes that change when the lines change, by the names of their sources."""


class TextFiles(LineSource):
    """Text files with one text per line, or manifests with a field ``text``.

    Args:
        files: One or several files.
    """

    def __init__(self, files: str | list[str]) -> None:
        self.files = [files] if isinstance(files, str) else list(files)

    def lines(self) -> Iterator[str]:
        """Return the non-empty lines of all files in order."""
        return (line for file in self.files for line in read_texts(Path(file)))

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of every file."""
        return {file: fingerprint(file) for file in self.files}


@checks_ranges
@dataclass
class TextMix:
    """Text-only batches in a stream of speech, which preserve the language model's ability to write.

    Args:
        files: Text files to train on, one text per line.
        source: Another source of lines, instead of ``files``.
        ratio: Fraction of text-only batches among all batches, exact over any section of the stream.
        batch_size: Lines per text-only batch.
        lower_case: Whether to convert lines to lower case.
        val: Text files to validate on, as ``val/text_only``.
    """

    files: str | list[str] | None = None
    source: LineSource | None = None
    ratio: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.25
    batch_size: Count = 32
    lower_case: bool = True
    val: str | list[str] | None = None

    def __post_init__(self) -> None:
        if (self.files is None) == (self.source is None):
            raise ConfigError("give either `files` or `source`, exactly one of the two")

    @property
    def training(self) -> LineSource:
        """Return the source of training lines."""
        return self.source or TextFiles(self.files or [])

    @property
    def validation(self) -> LineSource | None:
        """Return the source of validation lines, or None."""
        return None if self.val is None else TextFiles(self.val)

    def read(self, source: LineSource) -> list[str]:
        """Return the normalised lines of a source.

        Raises:
            DataError: if there are none.
        """
        lines = [line for line in (normalised(line, self.lower_case) for line in source.lines()) if line]
        if not lines:
            raise DataError(
                f"{type(source).__name__} gives no lines ({', '.join(source.fingerprint())}): name another source",
                key="text",
            )
        return lines


class LineBatches:
    """Batches of lines over endless epochs, each epoch in another order.

    Args:
        lines: The lines.
        size: Lines per batch; the last batch of an epoch can be smaller.
        seed: Seed of the orders.
    """

    def __init__(self, lines: Sequence[str], size: int, seed: int) -> None:
        self.lines, self.size, self.seed = lines, size, seed
        self._order: tuple[int, list[str]] | None = None

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.lines) // self.size)

    def epoch(self, number: int) -> Iterator[list[str]]:
        """Return the batches of one epoch."""
        return (self[number * len(self) + index] for index in range(len(self)))

    def __getitem__(self, index: int) -> list[str]:
        """Return a batch by its index over all epochs."""
        number, place = divmod(index, len(self))
        if self._order is None or self._order[0] != number:
            self._order = number, random.Random(seed_of(self.seed, "order", number)).sample(self.lines, len(self.lines))
        return self._order[1][place * self.size : (place + 1) * self.size]

    @cached_property
    def fingerprint(self) -> str:
        """Return a hash of the lines, their batching and their order."""
        return str(seed_of(self.seed, self.size, *self.lines))


def in_order(lines: Sequence[str], size: int) -> Iterator[list[str]]:
    """Return batches of lines in their order."""
    return (list(lines[start : start + size]) for start in range(0, len(lines), size))


class WithText(Dataset):
    """Dataset that returns the lines of an index ``(place, lines)``, and passes any other index to ``dataset``.

    Args:
        dataset: Dataset of speech; None if there is only text.
    """

    def __init__(self, dataset: Dataset | None = None) -> None:
        self.dataset = dataset

    def __getitem__(self, index: tuple[Any, Sequence[Any]]) -> Any:
        """Return the batch."""
        lines = index[1]
        return lines if self.dataset is None or (lines and isinstance(lines[0], str)) else self.dataset[index]


@dataclass
class Interleaved:
    """Places of text batches in a stream: evenly distributed over the steps, and never in the first step.

    In a step with text all processes have text, as they compute the gradients of the same parameters together.

    Args:
        batches: The batches of text.
        share: Fraction of all steps with text.
        world_size: Number of processes, each of which takes one place of every step.
    """

    batches: LineBatches
    share: Fraction
    world_size: int = 1

    def before(self, place: int) -> int:
        """Return the number of text batches before a place."""
        step, rank = divmod(place, self.world_size)
        return int(step * self.share) * self.world_size + (rank if self._has_text(step) else 0)

    def at(self, place: int) -> list[str] | None:
        """Return the text batch of a place; None if the place has speech."""
        return self.batches[self.before(place)] if self._has_text(place // self.world_size) else None

    def _has_text(self, step: int) -> bool:
        return int((step + 1) * self.share) > int(step * self.share)
