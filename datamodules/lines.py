"""Lines of text: where they come from, their batches, and how they are mixed into a stream of speech."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from spectron.datamodules.manifest import fingerprint, normalised
from spectron.errors import ConfigError, DataError
from spectron.files import read_texts
from spectron.randomness import seed_of


class LineSource(ABC):
    """Anything that gives lines of text to train on."""

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """The lines, the same in the same order every time."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What identifies the lines, by the names of what they are read from: it changes when they do."""


class TextFiles(LineSource):
    """Text files, one text a line, or manifests with a field ``text``.

    Args:
        files: One file or several.
    """

    def __init__(self, files: str | list[str]) -> None:
        self.files = [files] if isinstance(files, str) else list(files)

    def lines(self) -> Iterator[str]:
        """The non-empty lines of one file after the other."""
        return (line for file in self.files for line in read_texts(Path(file)))

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of every file."""
        return {file: fingerprint(file) for file in self.files}


@dataclass
class TextMix:
    """Batches of text alone in a stream of speech, so that the language model does not forget how to write.

    Args:
        files: Text files to train on, one text a line.
        source: Another source of lines, in the place of ``files``.
        ratio: Share of all batches that are text alone; exact over any stretch of the stream.
        batch_size: Lines in such a batch.
        lower_case: Whether lines are brought to lower case.
        val: Text files to validate on, as ``val/text_only``.
    """

    files: str | list[str] | None = None
    source: LineSource | None = None
    ratio: float = 0.25
    batch_size: int = 32
    lower_case: bool = True
    val: str | list[str] | None = None

    def __post_init__(self) -> None:
        if (self.files is None) == (self.source is None):
            raise ConfigError("give either `files` or `source`, exactly one of the two")
        if not 0 < self.ratio < 1:
            raise ConfigError(f"must be above 0 and below 1, got {self.ratio}", key="ratio")
        if self.batch_size < 1:
            raise ConfigError(f"must be at least 1, got {self.batch_size}", key="batch_size")

    @property
    def training(self) -> LineSource:
        """Where lines to train on come from."""
        return self.source or TextFiles(self.files or [])

    @property
    def validation(self) -> LineSource | None:
        """Where lines to validate on come from, if anywhere."""
        return None if self.val is None else TextFiles(self.val)

    def read(self, source: LineSource) -> list[str]:
        """The lines of a source as the model should see them.

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
    """Lines in batches, one pass over them after another, each in an order of its own.

    Args:
        lines: The lines.
        size: Lines in a batch; the last of a pass may be smaller.
        seed: Draws the orders.
    """

    def __init__(self, lines: Sequence[str], size: int, seed: int) -> None:
        self.lines, self.size, self.seed = lines, size, seed
        self._order: tuple[int, list[str]] | None = None

    def __len__(self) -> int:
        """Batches in a pass."""
        return -(-len(self.lines) // self.size)

    def epoch(self, number: int) -> Iterator[list[str]]:
        """The batches of one pass."""
        return (self[number * len(self) + index] for index in range(len(self)))

    def __getitem__(self, index: int) -> list[str]:
        """A batch of the endless row of passes."""
        number, place = divmod(index, len(self))
        if self._order is None or self._order[0] != number:
            self._order = number, random.Random(seed_of(self.seed, "order", number)).sample(self.lines, len(self.lines))
        return self._order[1][place * self.size : (place + 1) * self.size]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the lines, their batching and their order."""
        return str(seed_of(self.seed, self.size, *self.lines))


def in_order(lines: Sequence[str], size: int) -> Iterator[list[str]]:
    """Batches of lines as they come."""
    return (list(lines[start : start + size]) for start in range(0, len(lines), size))


class WithText(Dataset):
    """Maps ``(place, lines)`` to the lines, and any other index to what the dataset behind it makes of it.

    Args:
        dataset: What speech is read by; None where there is text alone.
    """

    def __init__(self, dataset: Dataset | None = None) -> None:
        self.dataset = dataset

    def __getitem__(self, index: tuple[Any, Sequence[Any]]) -> Any:
        """The batch."""
        lines = index[1]
        return lines if self.dataset is None or isinstance(lines[0], str) else self.dataset[index]


@dataclass
class Interleaved:
    """Which places of a stream hold text: spread as evenly as whole places can be, the first one never.

    Args:
        batches: The batches of text.
        share: Share of all places that they take.
    """

    batches: LineBatches
    share: Fraction

    def before(self, place: int) -> int:
        """Batches of text before a place."""
        return int(place * self.share)

    def at(self, place: int) -> list[str] | None:
        """The batch of text at a place; None where speech stands."""
        index = self.before(place)
        return self.batches[index] if self.before(place + 1) > index else None
