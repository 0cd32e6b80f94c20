"""Endless stream of training batches that can be resumed exactly at any batch.

The content of a batch depends only on the seed and on its place in the stream. A checkpoint stores the number of
consumed batches, not of fetched ones, because workers read ahead.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, cast

from lhotse import MonoCut
from lhotse.dataset.sampling.base import TimeConstraint
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketingSampler, estimate_duration_buckets
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from spectron.datamodules.lines import Interleaved
from spectron.datamodules.synthetic.corpus import SyntheticCorpus
from spectron.errors import ConfigError, DataError
from spectron.processes.ranks import rank, world
from spectron.processes.workers import watched_context
from spectron.randomness import seed_of
from spectron.ranges import Count, Range, Seconds, Seed, checks_ranges
from spectron.text_files import missing_file

Batch = TypeVar("Batch")
Workers = Annotated[int, Range(0, 1024)]


@checks_ranges
@dataclass
class Batching:
    """Size and order of batches.

    Args:
        batch_seconds: Maximum speech in a batch, including padding: its longest item times the number of items.
        max_items: Maximum number of items in a batch; None sets no limit.
        num_buckets: Number of groups of similar duration from which batches are drawn; fewer with little data.
        num_workers: Number of processes that read ahead.
        seed: Seed of the order of utterances and of the durations of prompts.
    """

    batch_seconds: Seconds = 60.0
    max_items: Count | None = None
    num_buckets: Annotated[int, Range(1, 10_000)] = 8
    num_workers: Workers = 0
    seed: Seed = 17


class SpeechSeconds(TimeConstraint):
    """Strict version of lhotse's limit: no batch is larger, including padding.

    lhotse uses the longest item so far, so a longer last item exceeds the limit. This class uses the longest item that
    the bucket can contain. The duration of a question includes its answer.

    Args:
        batching: The limits.
        measure: Function that returns the seconds of speech of an item.
    """

    def __init__(self, batching: Batching, measure: Callable[[MonoCut], float]) -> None:
        super().__init__(max_duration=batching.batch_seconds, max_cuts=batching.max_items)
        self.longest_seen: float
        self.measure = measure
        self.edges: list[float] = []

    def measure_length(self, example: MonoCut) -> float:
        """Return the seconds of speech of an item."""
        return self.measure(example)

    def add(self, example: MonoCut) -> None:
        """Count an item with the longest duration of its bucket."""
        self.longest_seen = max(self.longest_seen, self.edges[bisect_left(self.edges, self.measure(example))])
        self.num_cuts += 1


class BucketedEpochs:
    """Batches over endless epochs, each epoch in another order.

    Args:
        cuts: The utterances.
        measure: Function that returns the seconds of speech of an utterance.
        batching: Limits and seed.

    Raises:
        ConfigError: if an utterance is longer than the limit of a batch.
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
        # An epoch ends with an incomplete batch in every bucket. At least four full batches per bucket keep their
        # fraction small.
        room = int(sum(map(measure, cuts)) / (4 * batching.batch_seconds))
        buckets = min(batching.num_buckets, room, len(cuts))
        bins = (
            [float(edge) for edge in estimate_duration_buckets(self.cuts, buckets, self.limit)] if buckets > 1 else []
        )
        self.limit.edges = [*bins, longest]
        self.bins = bins or [longest]

    def __call__(self, epoch: int) -> Iterator[list[MonoCut]]:
        """Yield the batches of one epoch, which depend only on the seed and the number of the epoch."""
        # A new sampler for every epoch, because a used sampler has a state.
        sampler = DynamicBucketingSampler(
            random.Random(seed_of(self.seed, "order", epoch)).sample(self.cuts, len(self.cuts)),
            constraint=self.limit.copy(),
            duration_bins=self.bins,
            shuffle=True,
            world_size=1,
            rank=0,
            seed=seed_of(self.seed, "buckets", epoch),
            # Otherwise lhotse ends the epoch when it chooses an empty bucket, and drops the other buckets' items.
            sync_buckets=True,
        )
        yield from map(list, sampler)


class EndlessSampler(Sampler, Generic[Batch]):
    """Endless sampler of ``(place, batch)`` for the places of one rank.

    Args:
        epoch: Function that returns the batches of the n-th epoch, for all ranks together.
        start: First place to yield.
        starts: Known first places of the epochs. The list grows with the stream, so that resuming does not iterate over
            earlier epochs.
        rank: Number of this process.
        world_size: Number of processes, which take places in turn.
        text: Text-only batches between the others. The others are numbered without them, so their order and their
            random choices do not depend on the text.
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
        """Return the number of batches before a place, without text."""
        return place - (self.text.before(place) if self.text else 0)

    def __iter__(self) -> Iterator[tuple[int, Batch | list[str]]]:
        """Yield places and batches from ``start`` on."""
        passes = self._passes(self.before(self.start))
        for place in count(self.start):
            lines = self.text.at(place) if self.text else None
            numbered = next(passes) if lines is None else (place, lines)
            if place % self.world_size == self.rank:
                yield numbered

    def _passes(self, start: int) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of all epochs with their numbers, from ``start`` on."""
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


@checks_ranges
class EndlessDataModule(LightningDataModule):
    """Data module with an endless stream of training batches, which continues after resuming."""

    def __init__(self, seed: Seed, num_workers: Workers, corpus: SyntheticCorpus | None = None) -> None:
        super().__init__()
        self.seed = seed
        self.num_workers = num_workers
        self.corpus = corpus
        self.sampler: EndlessSampler | None = None
        self.resumed: dict[str, Any] = {"consumed": 0, "steps": 0, "starts": [0]}

    def prepare_data(self) -> None:
        """Write the synthetic corpus, if there is one and it is not written yet.

        Raises:
            DataError: before writing, if a file is missing that is not part of the corpus.
        """
        for file in map(Path, self.files()):
            if not file.is_file() and not (self.corpus is not None and self.corpus.writes(file)):
                raise missing_file(file)
        if self.corpus is not None:
            self.corpus.ensure()

    @abstractmethod
    def files(self) -> list[str]:
        """Return the manifests and texts that the data module reads."""

    @abstractmethod
    def data_fingerprint(self) -> str:
        """Return a hash of the training data and its order; a stream can only be resumed with an equal hash."""

    def endless(
        self, dataset: Dataset, epoch: Callable[[int], Iterator[Any]], text: Interleaved | None = None
    ) -> DataLoader:
        """Return the training loader, which continues after the last checkpoint.

        Raises:
            DataError: if the training data differs from the checkpoint's.
        """
        if self.resumed.get("data", self.data_fingerprint()) != self.data_fingerprint():
            raise DataError(
                "the training data or its batching has changed since the checkpoint, so the run cannot be resumed: "
                "start a new run"
            )
        self.check_ranks()
        self.sampler = EndlessSampler(
            epoch, self.resumed["consumed"], list(self.resumed["starts"]), rank(), world(), text
        )
        return self.loader(dataset, self.sampler)

    def loader(self, dataset: Dataset, sampler: Sampler | Sequence[Any]) -> DataLoader:
        """Return a loader of a dataset that returns whole batches."""
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            multiprocessing_context=watched_context() if self.num_workers else None,
        )

    def share(self, batches: list[tuple[Any, Sequence[Any]]]) -> list[tuple[Any, Sequence[Any]]]:
        """Return the validation batches of this rank.

        All ranks get the same number, some of them an empty batch at the end: they decide and exchange buffers at each
        batch.
        """
        self.check_ranks()
        empty: list[tuple[Any, Sequence[Any]]] = [("nothing", [])] * (-len(batches) % world())
        return [*batches, *empty][rank() :: world()]

    def check_ranks(self) -> None:
        """Check that Lightning does not replace the sampler.

        Raises:
            ConfigError: if ``use_distributed_sampler`` is true on several devices.
        """
        if world() > 1 and self.trainer and self.trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError(
                "on several devices the data module distributes batches itself: "
                "set trainer.use_distributed_sampler to false"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the number of consumed batches of all ranks, and the first places of the epochs."""
        trainer = self.trainer
        if trainer is None or self.sampler is None:
            return dict(self.resumed)
        steps = cast(Any, trainer.fit_loop.epoch_loop.batch_progress.total).processed
        consumed = self.resumed["consumed"] + (steps - self.resumed["steps"]) * world()
        starts = [start for start in self.sampler.starts if start <= self.sampler.before(consumed)]
        return {"consumed": consumed, "steps": steps, "starts": starts, "data": self.data_fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the stream of a checkpoint."""
        self.resumed = dict(state_dict)
