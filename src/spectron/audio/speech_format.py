"""Format of speech between a speech head, which gives it, and a vocoder, which takes it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class SpeechFormat(ABC):
    """Format of frames of speech; a dataclass, so that two equal formats have equal settings.

    A log-mel spectrogram (``MelConfig``) is one. Others can be discrete units of a vocabulary, or codes of a codec.

    Attributes:
        sample_rate_hz: Sample rate of the waveform that the frames describe.
    """

    sample_rate_hz: int

    @property
    @abstractmethod
    def frame_rate_hz(self) -> float:
        """Return the number of frames per second."""

    @abstractmethod
    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Return the number of frames (B,) of recordings with (B,) samples; 0 without samples."""

    @abstractmethod
    def example(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, ...) for recordings (B, S) and (B,) valid frames, to check a vocoder.

        A format that cannot compute frames from a waveform alone returns made-up frames of the right number.
        """
