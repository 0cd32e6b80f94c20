"""What one task of a suite must do: answer its items with each of its systems, and say what each item adds to each metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningDataModule

from spectron.audio.resampling import SampleRates
from spectron.batch import SpeechBatch
from spectron.contracts import SpokenLanguageModel
from spectron.errors import ConfigError
from spectron.evaluation.judges import Judges
from spectron.evaluation.metrics import SummedMetric
from spectron.evaluation.results.records import Record
from spectron.evaluation.results.summary import MODEL
from spectron.evaluation.systems.answering import TeacherForcing

__all__ = ["MODEL", "Bench", "Curve", "Task"]


@dataclass
class Curve:
    """That a task is one point of a curve over tasks.

    Args:
        name: What changes, such as ``prompt length``.
        value: Its value here.
        unit: Its unit.
    """

    name: str
    value: float
    unit: str = ""


@dataclass
class Bench:
    """What a task works with.

    Args:
        system: The system under test, on ``device`` and in evaluation mode.
        judges: The judges at hand.
        device: Where everything runs.
        teacher_forced: Gives the spectrogram that the system predicts from the true past.
    """

    system: SpokenLanguageModel
    judges: Judges
    device: torch.device
    teacher_forced: TeacherForcing | None = None


class Task(ABC):
    """One task of a suite.

    Args:
        data: A data module; the items are those that it validates on.
        metrics: What is measured.
        num_items: How many items, evenly spaced over the data; None takes all.
        curve: The point of a curve that this task is.

    Raises:
        ConfigError: if the data module cannot hand out its items.
    """

    def __init__(
        self,
        data: LightningDataModule,
        metrics: list[SummedMetric],
        num_items: int | None = None,
        curve: Curve | None = None,
    ) -> None:
        if not hasattr(data, "item_batches"):
            raise ConfigError(
                f"data: {type(data).__name__} gives no items to answer. Take spectron.datamodules.ContinuationDataModule or SpokenQADataModule"
            )
        if num_items is not None and num_items < 1:
            raise ConfigError(f"num_items: must be at least 1, got {num_items}")
        self.data: Any = data
        self.metrics = metrics
        self.num_items = num_items
        self.curve = curve
        self.batches: Sequence[SpeechBatch] = []

    def prepare(self, bench: Bench) -> None:
        """Read the data's manifests. The audio is read batch by batch, when it is needed.

        Raises:
            DataError: for missing or broken data.
            ConfigError: if a metric lacks its judge, or the system cannot do what the task asks for.
        """
        self.data.rates = SampleRates(bench.system.prompt_rate_hz, bench.system.speech_rate_hz)
        self.data.setup("validate")
        self.batches = self.data.item_batches(self.num_items)

    @property
    def ids(self) -> list[str]:
        """Ids of all items, in their order."""
        return self.data.item_ids(self.num_items)

    def batch(self, place: int) -> SpeechBatch:
        """A batch of items, as far as it names them."""
        return self.batches[place]

    def split_of(self, place: int, row: int) -> str:
        """The part of the data that an item is from."""
        splits = self.batch(place).splits
        return splits[row] if splits else ""

    @abstractmethod
    def systems(self, bench: Bench) -> list[str]:
        """Names of the systems that answer, ``model`` first."""

    @abstractmethod
    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Have a system answer the batch at ``place``, or some rows of it, and judge the answers. Items that do not apply are left out."""
