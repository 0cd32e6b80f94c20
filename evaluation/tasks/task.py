"""Base class of tasks: each system answers the items of a task, and each item adds its parts to each metric."""

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
from spectron.ranges import Count, Finite, checks_ranges

__all__ = ["MODEL", "Bench", "Curve", "Task"]


@checks_ranges
@dataclass
class Curve:
    """Place of a task on a curve over several tasks.

    Args:
        name: Setting that varies, such as ``prompt length``.
        value: Value of the setting in this task.
        unit: Unit of the setting.
    """

    name: str
    value: Finite
    unit: str = ""


@dataclass
class Bench:
    """Environment of a task: system, judges and device.

    Args:
        system: The system under test, on ``device`` and in evaluation mode.
        judges: The judges of the suite.
        device: Device to compute on.
        teacher_forced: Function that predicts the spectrogram from the true past, if the system has one.
    """

    system: SpokenLanguageModel
    judges: Judges
    device: torch.device
    teacher_forced: TeacherForcing | None = None


@checks_ranges
class Task(ABC):
    """Task of a suite.

    Args:
        data: A data module; its validation data are the items.
        metrics: Metrics to compute.
        num_items: Number of items, evenly spaced over the data; None takes all.
        curve: Place of this task on a curve, if it is part of one.

    Raises:
        ConfigError: if the data module has no items.
    """

    def __init__(
        self,
        data: LightningDataModule,
        metrics: list[SummedMetric],
        num_items: Count | None = None,
        curve: Curve | None = None,
    ) -> None:
        if not hasattr(data, "item_batches"):
            raise ConfigError(
                f"{type(data).__name__} has no items to answer (no method `item_batches`): "
                "choose a data module such as spectron.datamodules.ContinuationDataModule or SpokenQADataModule",
                key="data",
            )
        self.data: Any = data
        self.metrics = metrics
        self.num_items = num_items
        self.curve = curve
        self.batches: Sequence[SpeechBatch] = []

    def prepare(self, bench: Bench) -> None:
        """Read the manifests; audio is read later, batch by batch.

        Raises:
            DataError: if data are missing or broken.
            ConfigError: if the judge of a metric is missing, or the system cannot do this task.
        """
        self.data.rates = SampleRates(bench.system.prompt_rate_hz, bench.system.speech_rate_hz)
        self.data.setup("validate")
        self.batches = self.data.item_batches(self.num_items)

    @property
    def ids(self) -> list[str]:
        """Return the ids of all items in order."""
        return self.data.item_ids(self.num_items)

    def batch(self, place: int) -> SpeechBatch:
        """Return the batch of a place, for the ids and splits of its items."""
        return self.batches[place]

    def split_of(self, place: int, row: int) -> str:
        """Return the split of an item; empty if the data has none."""
        splits = self.batch(place).splits
        return splits[row] if splits else ""

    @abstractmethod
    def systems(self, bench: Bench) -> list[str]:
        """Return the names of the systems that answer, ``model`` first."""

    @abstractmethod
    def judge(self, system: str, place: int, bench: Bench, rows: list[int] | None = None) -> list[Record]:
        """Let a system answer the batch at ``place``, or some rows of it, and judge the answers.

        Items for which the system has no answer, such as a baseline without a recording, are left out.
        """
