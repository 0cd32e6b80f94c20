"""What the judges must do. A user's own judge subclasses one of these and is named by ``class_path`` in a YAML.

Constructors only look whether their source is there; the weights are read by ``load`` when validation first needs them. A judge works
in single precision, without gradients, on the device of the model under test, and leaves that device again when it is done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Judge(nn.Module, ABC):
    """Something that turns speech or text into evidence and has no share in the model under test."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What was asked, for the record that stands beside the measures: class and weights."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights into submodules on the CPU. Called once, by ``prepare``.

        Raises:
            ConfigError: if the source cannot be read.
        """

    def prepare(self) -> None:
        """Load the weights unless that is done."""
        if not self.loaded:
            # Lightning validates in inference mode; weights made there could never leave it.
            with torch.inference_mode(False):
                self.load()
                self.float().eval().requires_grad_(False)
            self.loaded = True

    @contextmanager
    def at_work(self, device: torch.device) -> Iterator[None]:
        """Weights on ``device``, no gradients, single precision; afterwards back on the CPU."""
        self.prepare()
        with torch.inference_mode(False):
            self.to(device)
        try:
            with torch.inference_mode(), torch.autocast(device.type, enabled=False):
                yield
        finally:
            with torch.inference_mode(False):
                self.to("cpu")


class Transcriber(Judge):
    """Speech to words."""

    @abstractmethod
    def transcribe(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[str]:
        """Words heard in each waveform (S,), empty where none; on the device that the judge is on."""


class TextScorer(Judge):
    """Text to its likelihood."""

    @abstractmethod
    def score(self, texts: list[str]) -> list[tuple[float, int]]:
        """Negative log-likelihood in nats, summed over a text's tokens, and the number of these tokens; (0, 0) for an empty text."""


class SpeakerEmbedder(Judge):
    """Speech to a vector that tells who speaks."""

    @abstractmethod
    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Waveforms (S,) to embeddings (B, E) of length 1; a row of NaN where no voice is found."""
