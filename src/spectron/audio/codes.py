"""Format of speech as codes: units of one vocabulary, or the codes of several codebooks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectron.audio.speech_format import SpeechFormat
from spectron.errors import DataError
from spectron.ranges import Positive, SampleRate, Size, checks_ranges

PADDING = -1  # at padded places, and nowhere else


@checks_ranges
@dataclass(frozen=True)
class CodeFormat(SpeechFormat):
    """Frames of Q codes each, at a fixed rate: (B, T, Q) integers from 0, and -1 at padded frames.

    Args:
        sample_rate_hz: Sample rate of the waveform that the codes describe.
        rate_hz: Frames per second.
        sizes: Number of codes in each of the Q codebooks; one codebook for units.
        tokenizer: Fingerprint of everything that makes the codes; equal codes of two tokenizers mean different sounds.
    """

    sample_rate_hz: SampleRate
    rate_hz: Positive
    sizes: tuple[Size, ...]
    tokenizer: str

    @property
    def frame_rate_hz(self) -> float:
        """Return the number of frames per second."""
        return self.rate_hz

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Return the number of frames that contain recordings of (B,) samples; 0 without samples.

        A tokenizer may give a frame more or less, as its windows have it.
        """
        return torch.ceil(num_samples * (self.rate_hz / self.sample_rate_hz)).long()

    def example(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return made-up codes (B, T, Q) of the right number for recordings (B, S), and (B,) valid frames."""
        num_frames = self.num_frames(num_samples)
        longest = int(num_frames.max())
        steps = torch.arange(longest, device=waveform.device)[:, None]
        books = torch.arange(len(self.sizes), device=waveform.device)
        codes = (7 * steps + 3 * books) % torch.tensor(self.sizes, device=waveform.device)
        return codes.expand(len(waveform), -1, -1).clone(), num_frames

    def require_within(self, codes: Tensor, num_frames: Tensor) -> None:
        """Refuse codes (B, T, Q) that the codebooks do not have. It waits for the device.

        Raises:
            DataError: naming the first such code, its codebook and its place.
        """
        if codes.shape[2] != len(self.sizes):
            raise DataError(f"frames have {codes.shape[2]} codes, but there are {len(self.sizes)} codebooks")
        valid = torch.arange(codes.shape[1], device=codes.device) < num_frames[:, None]
        sizes = torch.tensor(self.sizes, device=codes.device)
        wrong = (((codes < 0) | (codes >= sizes)) & valid[..., None]).nonzero()
        if len(wrong):
            row, frame, book = wrong[0].tolist()
            raise DataError(
                f"code {int(codes[row, frame, book])} at frame {frame} of row {row} is not in codebook {book}, which "
                f"has codes 0 to {self.sizes[book] - 1}. Use the tokenizer that the vocoder was made for"
            )

    def __str__(self) -> str:
        """Describe the format in words."""
        sizes = " x ".join(map(str, self.sizes))
        kind = "units" if len(self.sizes) == 1 else "codes"
        return f"{sizes} {kind} at {self.rate_hz:g} Hz of tokenizer {self.tokenizer[:8]}"
