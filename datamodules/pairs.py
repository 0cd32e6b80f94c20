"""Data module of pairs of a right and a wrong recording, whose likelihoods are compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info

from spectron.audio.io import AudioHeader, read_audio
from spectron.audio.resampling import SampleRates, resample
from spectron.batch import SpeechBatch
from spectron.datamodules.items import Item, collate
from spectron.datamodules.manifest import fingerprint, normalised, read_headers
from spectron.datamodules.schema import PAIR, SIDES, read_entries
from spectron.errors import DataError, about_file
from spectron.ranges import Count, Seconds, checks_ranges

logger = logging.getLogger(__name__)

PairBatch = tuple[SpeechBatch, SpeechBatch]


@dataclass(frozen=True)
class Pair:
    """Line of a manifest of pairs.

    Attributes:
        id: Id, unique in the manifest.
        group: Group of the results, such as a task or a kind of error.
        files: The right and the wrong recording.
        texts: Their texts; None if unknown.
        context_seconds: Duration of the beginning that both share; 0 if there is none.
        seconds: Duration of the longer recording.
    """

    id: str
    group: str
    files: tuple[Path, Path]
    texts: tuple[str | None, str | None]
    context_seconds: float
    seconds: float


def read_pairs(path: str | Path, lower_case: bool = True) -> list[Pair]:
    """Read a manifest of pairs and the header of every audio file that it names.

    Args:
        path: JSONL file. A line has ``id``, ``group``, ``positive_audio_filepath`` and ``negative_audio_filepath``
            (relative to the manifest's folder), ``positive_text`` and ``negative_text`` (can be null), and
            ``context_seconds`` (duration of the shared beginning, or 0). It can have ``positive_duration`` and
            ``negative_duration``. ``schema.py`` contains all fields and rules.
        lower_case: Whether to convert texts to lower case.

    Raises:
        DataError: if the manifest or an audio file is missing, a line is invalid, or audio is broken; the message names
            the line.
    """
    path = Path(path)
    with about_file(path):
        entries = read_entries(path, PAIR)
        found = read_headers(path.parent, entries, [f"{side}_" for side in SIDES])
        return [_pair(path.parent, entry, found, lower_case) for entry in entries]


def _pair(folder: Path, entry: dict[str, Any], found: dict[str, AudioHeader], lower_case: bool) -> Pair:
    """Return the pair of one line."""
    files = [entry[f"{side}_audio_filepath"] for side in SIDES]
    seconds = [found[file].seconds for file in files]
    context = float(entry["context_seconds"])
    if context >= min(seconds):
        raise DataError(
            f"{entry['where']} has {context} as 'context_seconds', which should be from 0 to below "
            f"{min(seconds):.2f}, the duration of the shorter recording"
        )
    texts = [None if (text := entry[f"{side}_text"]) is None else normalised(text, lower_case) for side in SIDES]
    return Pair(
        entry["id"], entry["group"], (folder / files[0], folder / files[1]), (texts[0], texts[1]), context, max(seconds)
    )


@checks_ranges
class PairsDataModule(LightningDataModule):
    """Pairs of recordings for an evaluation, without training data.

    Args:
        manifest: JSONL manifest of pairs, as written by ``spectron prepare pairs``.
        groups: Groups to use; None uses all.
        batch_size: Pairs per batch.
        max_seconds: Pairs with a longer recording are left out.
        lower_case: Whether to convert texts to lower case.

    Attributes:
        rates: Sample rates of the batches, which must be set before ``item_batches``.
        pairs: The used pairs, sorted by length to reduce padding.
    """

    def __init__(
        self,
        manifest: str,
        groups: list[str] | None = None,
        batch_size: Count = 8,
        max_seconds: Seconds = 30.0,
        lower_case: bool = True,
    ) -> None:
        super().__init__()
        self.manifest, self.groups, self.batch_size = manifest, groups, batch_size
        self.max_seconds, self.lower_case = max_seconds, lower_case
        self.rates: SampleRates | None = None
        self.pairs: list[Pair] = []

    def setup(self, stage: str) -> None:
        """Read the manifest and check every file that it names.

        Raises:
            DataError: if a group does not exist, or nothing is left.
        """
        if self.pairs:
            return
        read = read_pairs(self.manifest, self.lower_case)
        there = sorted({pair.group for pair in read})
        unknown = sorted(set(self.groups or ()) - set(there))
        if unknown:
            raise DataError(
                f"{self.manifest} has no group {', '.join(unknown)}. It has: {', '.join(there)}", key="groups"
            )
        members = [pair for pair in read if self.groups is None or pair.group in self.groups]
        used = [pair for pair in members if pair.seconds <= self.max_seconds]
        if not used:
            raise DataError(
                f"no pair of {self.manifest} is left of {len(members)}: raise max_seconds={self.max_seconds:g}",
                file=self.manifest,
            )
        left_out = (
            f"; {len(members) - len(used)} dropped: longer than max_seconds={self.max_seconds:g}"
            if len(used) < len(members)
            else ""
        )
        rank_zero_info(f"{self.manifest}: {len(used)} pairs used{left_out}")
        self.pairs = sorted(used, key=lambda pair: (pair.seconds, pair.id))

    def fingerprint(self) -> dict[str, str]:
        """Return the SHA-256 of the manifest."""
        return {self.manifest: fingerprint(self.manifest)}

    def item_ids(self, size: int | None = None) -> list[str]:
        """Return the ids of the pairs of ``item_batches`` in the same order."""
        return [pair.id for pair in self._chosen(size)]

    def item_batches(self, size: int | None = None) -> Sequence[PairBatch]:
        """Return batches of all pairs, or of ``size`` pairs evenly spaced over all lengths.

        Each batch is two batches with equal ids: the right and the wrong recordings.
        """
        if self.rates is None:
            raise ValueError("rates must be set before batches are asked for")
        chosen = self._chosen(size)
        return PairBatches(
            [chosen[start : start + self.batch_size] for start in range(0, len(chosen), self.batch_size)], self.rates
        )

    def _chosen(self, size: int | None) -> list[Pair]:
        count = len(self.pairs) if size is None else min(size, len(self.pairs))
        return [self.pairs[index * len(self.pairs) // count] for index in range(count)]


class PairBatches(Sequence[PairBatch]):
    """Batches of pairs that are read on access; the last one is cached.

    The shared beginning is the prompt, and the rest of each recording is its continuation. ``splits`` contains the
    groups. Unreadable pairs are left out of both sides and listed in ``skipped``.

    Args:
        places: Pairs of each batch.
        rates: Sample rates of prompts and continuations.
    """

    def __init__(self, places: list[list[Pair]], rates: SampleRates) -> None:
        self.places, self.rates = places, rates
        self._read = lru_cache(maxsize=1)(self._both)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        """Return the batch of right recordings and the batch of wrong ones."""
        return self._read(range(len(self))[place])

    def _both(self, place: int) -> PairBatch:
        sides: tuple[list[Item], list[Item]] = ([], [])
        skipped = []
        for pair in self.places[place]:
            try:
                both = [_item(pair, which, self.rates) for which in range(len(SIDES))]
            except DataError as error:
                logger.warning("left out a broken pair: %s: %s", pair.id, error)
                skipped.append(f"{pair.id}: {error}")
                continue
            for items, item in zip(sides, both, strict=True):
                items.append(item)
        return collate(sides[0], skipped), collate(sides[1], skipped)


def _item(pair: Pair, which: int, rates: SampleRates) -> Item:
    """Return the item of one recording of a pair."""
    waveform, rate = read_audio(pair.files[which])
    at = round(pair.context_seconds * rate)
    return Item(
        id=pair.id,
        speaker="",
        prompt=resample(waveform[:at], rate, rates.prompt_hz),
        prompt_text="",
        continuation=resample(waveform[at:], rate, rates.speech_hz),
        continuation_text=pair.texts[which] or "",
        split=pair.group,
    )
