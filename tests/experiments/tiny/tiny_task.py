"""A tiny task and its data, in the same folder as the YAML that names them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from spectron.ranges import Range, Size


class Squash(nn.Module):
    """Part whose width the task passes."""

    def __init__(self, width: int, slope: float = 1.0) -> None:
        super().__init__()
        self.linear, self.slope = nn.Linear(width, 1), slope


class OtherSquash(Squash):
    """Another part of the same kind, with an argument more."""

    def __init__(self, width: int, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.offset = offset


class Elsewhere(nn.Module):
    """Class that is no ``Squash``."""


@dataclass
class Speed:
    """Settings that refuse a rate of 0 or below."""

    rate: float = 1e-2
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")


SPEED = Speed()


class TinyTask(LightningModule):
    """Task with one parameter of every type that the configuration knows."""

    def __init__(
        self,
        end: Callable[[int], Squash],
        width: Annotated[int, Range(1, 64)] = 4,
        kind: Literal["plain", "fancy"] = "plain",
        speed: Speed = SPEED,
        sizes: list[Size] | None = None,
        free: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if width == 13:
            raise ValueError("width must not be 13")
        self.model = nn.ModuleDict({"start": nn.Sequential(nn.Linear(4, width), nn.Dropout()), "end": end(width)})
        self.speed = speed

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model["end"].linear(self.model["start"](batch)).square().mean()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.speed.rate)

    def measure_names(self) -> set[str]:
        return {"val/loss"}

    def shapes(self, batch: torch.Tensor) -> dict[str, tuple[int, ...]]:
        return {"numbers (B, 4)": tuple(batch.shape)}


class Endless(IterableDataset):
    """Endless batches of random numbers, each determined by its position."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __iter__(self) -> Iterator[torch.Tensor]:
        position = self.position
        while True:
            yield torch.randn(3, 4, generator=torch.Generator().manual_seed(position))
            position += 1


class TinyData(LightningDataModule):
    """Data module that resumes at the position in its checkpoint."""

    def __init__(self, source: str = "numbers") -> None:
        super().__init__()
        self.position, self.source = 0, source

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Endless(self.position), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([torch.ones(2, 4)], batch_size=None)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.trainer.fit_loop.epoch_loop.batch_progress.total.completed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.position = state_dict["position"]

    def fingerprint(self) -> dict[str, str]:
        return {"numbers": "0123abc"}
