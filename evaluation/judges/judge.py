"""What the judges must do. A user's own judge subclasses one of these and is named by ``class_path`` in a YAML.

Constructors only look whether their source is there; the weights are read by ``load`` when validation first needs them. A judge works
in single precision, without gradients, on the device of the model under test, and leaves that device again when it is done.

A judge takes any recording, at any sample rate: one without samples, a click, digital silence, ten minutes. Where nothing can be said
it says so (an empty text, a row of NaN, None), and what it says of one recording does not depend on others that it is given with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from spectron.errors import ConfigError
from spectron.tracking.provenance import weights_sha256


class Judge(nn.Module, ABC):
    """Something that turns speech or text into evidence and has no share in the model under test."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What was asked, for the record that stands beside the measures: class and weights, with the revision of a hub model."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights into submodules on the CPU. Called once, by ``prepare``.

        Raises:
            ConfigError: if the source cannot be read.
        """

    def missing(self) -> str | None:
        """Why the weights are not here, with the cure; None where they are. A hub model is fetched to find out."""
        return None

    def weight_files(self) -> list[Path]:
        """Files that hold the weights of a judge that keeps them outside of torch."""
        return []

    def prepare(self) -> None:
        """Load the weights unless that is done.

        Raises:
            ConfigError: if they are not here or cannot be read.
        """
        if self.loaded:
            return
        if (why := self.missing()) is not None:
            raise ConfigError(why)
        # Lightning validates in inference mode; weights made there could never leave it.
        with torch.inference_mode(False):
            self.load()
            self.eval().requires_grad_(False)
            for tensor in (*self.parameters(), *self.buffers()):
                # Buffers in double precision stay: a front end has them for a reason.
                if tensor.is_floating_point() and (
                    isinstance(tensor, nn.Parameter) or tensor.dtype.itemsize < torch.float32.itemsize
                ):
                    tensor.data = tensor.data.float()
        self.loaded = True

    def fingerprint(self) -> dict[str, str]:
        """The title, and the SHA-256 of the weights.

        It goes over name, type, shape and bytes of every parameter and buffer in the order of their names, then over names and bytes of
        ``weight_files``: equal digests mean equal weights, however they were stored.
        """
        self.prepare()
        return {"title": self.title, "weights_sha256": weights_sha256(self, self.weight_files())}

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


class QualityPredictor(Judge):
    """Speech to the mean opinion score that listeners would give it, without a reference.

    The one judge that a suite can do without: where ``missing`` gives a reason, its measures are left out and the reason is told.
    """

    @abstractmethod
    def rate(self, waveforms: list[Tensor], sample_rate_hz: int) -> list[float | None]:
        """Predicted mean opinion score, 1 (bad) to 5 (excellent), of each waveform (S,); None where there is nothing to hear."""
