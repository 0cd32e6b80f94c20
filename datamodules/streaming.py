"""One endless stream of training batches that can be taken up again at any batch, exactly.

What a batch holds depends on the seed and on its place in the stream alone. A checkpoint keeps how many batches were consumed, not
how many were fetched: workers read ahead.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from lhotse import MonoCut
from lhotse.dataset.sampling.base import TimeConstraint
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from spectron.datamodules.lines import Interleaved
from spectron.datamodules.manifest import missing
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.errors import ConfigError, DataError
from spectron.randomness import seed_of

Batch = TypeVar("Batch")


@dataclass
class Batching:
    """How utterances are put together.

    Args:
        batch_seconds: Most speech in a batch: its longest item times the number of items.
        max_items: Most items in a batch; None sets no limit.
        num_buckets: Batches are drawn from this many groups of like duration, fewer where there is little data.
        num_workers: Processes that read ahead.
        seed: Draws the order of utterances, and lengths of prompts.
    """

    batch_seconds: float = 60.0
    max_items: int | None = None
    num_buckets: int = 8
    num_workers: int = 0
    seed: int = 17

    def __post_init__(self) -> None:
        if self.batch_seconds <= 0 or self.num_buckets < 1 or self.num_workers < 0 or (self.max_items or 1) < 1:
            raise ConfigError(
                f"batch_seconds, num_buckets and max_items must be above 0 and num_workers at least 0: {self}"
            )


class SpeechSeconds(TimeConstraint):
    """lhotse's limit on a batch, kept to the letter: no batch is larger, padding included.

    lhotse looks at the longest item so far, and a longer one that comes last then breaks the limit; this looks at the longest item
    that the bucket may hold. A question counts with its answer.

    Args:
        batching: The limits.
        measure: Seconds of speech of an item.
    """

    def __init__(self, batching: Batching, measure: Callable[[MonoCut], float]) -> None:
        super().__init__(max_duration=batching.batch_seconds, max_cuts=batching.max_items)
        self.longest_seen: float
        self.measure = measure
        self.edges: list[float] = []

    def measure_length(self, example: MonoCut) -> float:
        """Seconds of speech of an item."""
        return self.measure(example)

    def add(self, example: MonoCut) -> None:
        """Count an item in, as long as its bucket's longest."""
        self.longest_seen = max(self.longest_seen, self.edges[bisect_left(self.edges, self.measure(example))])
        self.num_cuts += 1


class BucketedEpochs:
    """Batches of one pass over the data after another, each pass in an order of its own.

    Args:
        cuts: The utterances.
        measure: Seconds of speech of one.
        batching: Limits and seed.

    Raises:
        ConfigError: if an utterance is longer than a batch may be.
    """

    def __init__(self, cuts: Sequence[MonoCut], measure: Callable[[MonoCut], float], batching: Batching) -> None:
        longest = max(map(measure, cuts))
        if longest > batching.batch_seconds:
            raise ConfigError(
                f"an utterance of {longest:.1f} s does not fit into batching.batch_seconds={batching.batch_seconds:g}: "
                "raise that, or lower max_seconds"
            )
        self.cuts = list(cuts)
        self.limit = SpeechSeconds(batching, measure)
        self.seed = batching.seed
        # A pass leaves a rest in every bucket: with fewer than four full batches in one, rests would be a large part of all batches.
        room = int(sum(map(measure, cuts)) / (4 * batching.batch_seconds))
        buckets = min(batching.num_buckets, room, len(cuts))
        bins = (
            [float(edge) for edge in estimate_duration_buckets(self.cuts, buckets, self.limit)] if buckets > 1 else []
        )
        self.limit.edges = [*bins, longest]
        self.bins = bins or [longest]

    def __call__(self, epoch: int) -> Iterator[list[MonoCut]]:
        """The batches of one pass; the seed and its number are all that it depends on."""
        # A new sampler for every pass: one that has run before carries state over.
        sampler = DynamicBucketingSampler(
            random.Random(seed_of(self.seed, "order", epoch)).sample(self.cuts, len(self.cuts)),
            constraint=self.limit.copy(),
            duration_bins=self.bins,
            shuffle=True,
            world_size=1,
            rank=0,
            seed=seed_of(self.seed, "buckets", epoch),
            # Without this lhotse ends a pass at the first empty bucket that it happens to choose, and drops what the others hold.
            sync_buckets=True,
        )
        yield from map(list, sampler)


class EndlessSampler(Sampler, Generic[Batch]):
    """Yields ``(place, batch)`` for the places of one rank, from a place on and without end.

    Args:
        epoch: The batches of the n-th pass over the data, on all ranks together.
        start: First place to yield.
        starts: Places at which passes begin, as far as they are known; grows as the stream goes on, and spares going through old
            passes again.
        rank: Which process this is.
        world_size: How many there are; they take places in turn.
        text: Batches of text between those of the passes, which are counted as if there were none: the same come in the same order,
            with the same draws, whatever is mixed in.
    """

    def __init__(
        self,
        epoch: Callable[[int], Iterator[Batch]],
        start: int = 0,
        starts: list[int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        text: Interleaved | None = None,
    ) -> None:
        self.epoch = epoch
        self.start = start
        self.starts = starts or [0]
        self.rank = rank
        self.world_size = world_size
        self.text = text

    def before(self, place: int) -> int:
        """Batches of the passes before a place."""
        return place - (self.text.before(place) if self.text else 0)

    def __iter__(self) -> Iterator[tuple[int, Batch | list[str]]]:
        """Start over at ``start``."""
        passes = self._passes(self.before(self.start))
        for place in count(self.start):
            lines = self.text.at(place) if self.text else None
            numbered = next(passes) if lines is None else (place, lines)
            if place % self.world_size == self.rank:
                yield numbered

    def _passes(self, start: int) -> Iterator[tuple[int, Batch]]:
        """The batches of the passes with their numbers, from one on."""
        number = bisect_right(self.starts, start) - 1
        while True:
            place = self.starts[number]
            for batch in self.epoch(number):
                if place >= start:
                    yield place, batch
                place += 1
            if place == self.starts[number]:
                raise DataError("a pass over the training data gave no batch: there is nothing to train on")
            number += 1
            if number == len(self.starts):
                self.starts.append(place)


class EndlessDataModule(LightningDataModule):
    """A data module whose training batches are one endless stream, and that goes on with it after a resume."""

    def __init__(self, seed: int, num_workers: int, corpus: SyntheticCorpus | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.num_workers = num_workers
        self.corpus = corpus
        self.sampler: EndlessSampler | None = None
        self.resumed: dict[str, Any] = {"consumed": 0, "steps": 0, "starts": [0]}

    def prepare_data(self) -> None:
        """Write the synthetic corpus where one is asked for and not there yet.

        Raises:
            DataError: before that, if a file is missing that it will not hold.
        """
        for file in map(Path, self.files()):
            if not file.is_file() and not (self.corpus is not None and self.corpus.writes(file)):
                raise missing(file)
        if self.corpus is not None:
            self.corpus.ensure()

    @abstractmethod
    def files(self) -> list[str]:
        """The manifests and texts that it reads."""

    @abstractmethod
    def data_fingerprint(self) -> str:
        """Identifies the training data and its order: a stream goes on only over the same."""

    def endless(
        self, dataset: Dataset, epoch: Callable[[int], Iterator[Any]], text: Interleaved | None = None
    ) -> DataLoader:
        """The training loader, from where the last checkpoint stopped, with any batches of text in between.

        Raises:
            DataError: if the training data is not the checkpoint's.
        """
        if self.resumed.get("data", self.data_fingerprint()) != self.data_fingerprint():
            raise DataError(
                "the training data or its batching has changed since the checkpoint, so the run cannot go on: start a new run"
            )
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        self.check_ranks()
        self.sampler = EndlessSampler(
            epoch, self.resumed["consumed"], list(self.resumed["starts"]), rank, world_size, text
        )
        return self.loader(dataset, self.sampler)

    def loader(self, dataset: Dataset, sampler: Sampler | Sequence[Any]) -> DataLoader:
        """A loader whose dataset makes whole batches."""
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def share(self, batches: list[Any]) -> list[Any]:
        """This rank's validation batches."""
        self.check_ranks()
        return batches[self.trainer.global_rank :: self.trainer.world_size] if self.trainer else batches

    def check_ranks(self) -> None:
        """Lightning would put a sampler of its own in the place of ours.

        Raises:
            ConfigError: if it was not told not to.
        """
        trainer = self.trainer
        if trainer and trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError(
                "on several devices the data module shares out batches itself: set trainer.use_distributed_sampler to false"
            )

    def state_dict(self) -> dict[str, Any]:
        """How far the stream was consumed, in batches of all ranks together."""
        trainer = self.trainer
        if trainer is None or self.sampler is None:
            return dict(self.resumed)
        steps = cast(Any, trainer.fit_loop.epoch_loop.batch_progress.total).processed
        consumed = self.resumed["consumed"] + (steps - self.resumed["steps"]) * trainer.world_size
        starts = [start for start in self.sampler.starts if start <= self.sampler.before(consumed)]
        return {"consumed": consumed, "steps": steps, "starts": starts, "data": self.data_fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self.resumed = dict(state_dict)
