"""Log-mel spectrograms whose valid frames do not depend on padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass
class MelConfig:
    """Spectrogram settings; the defaults are the paper's speech targets.

    Args:
        sample_rate_hz: Waveform rate.
        frame_shift_ms: Time between frames.
        window_ms: Length of the analysis window.
        n_mels: Bands M.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band, at most half the sample rate.
        floor: Smallest magnitude before the logarithm.
        mel_scale: ``htk`` or ``slaney`` (librosa's default, which most published vocoders were trained on).
        area_norm: Whether each band is divided by its width (Slaney's normalisation).
    """

    sample_rate_hz: int = 16000
    frame_shift_ms: float = 12.5
    window_ms: float = 50.0
    n_mels: int = 128
    low_hz: float = 20.0
    high_hz: float = 8000.0
    floor: float = 1.0e-5
    mel_scale: Literal["htk", "slaney"] = "htk"
    area_norm: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"mel bands need 0 <= low_hz < high_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.low_hz} to {self.high_hz}"
            )
        if min(self.frame_shift_ms, self.window_ms, self.n_mels, self.floor) <= 0:
            raise ValueError(f"frame_shift_ms, window_ms, n_mels and floor must be above 0: {self}")

    @property
    def hop_samples(self) -> int:
        """Return the number of samples between frames."""
        return round(self.sample_rate_hz * self.frame_shift_ms / 1000)

    @property
    def window_samples(self) -> int:
        """Return the number of samples in a window."""
        return round(self.sample_rate_hz * self.window_ms / 1000)

    @property
    def fft_size(self) -> int:
        """Return the smallest power of two that is at least the window."""
        return 1 << (self.window_samples - 1).bit_length()

    @property
    def frame_rate_hz(self) -> float:
        """Return the number of frames per second."""
        return self.sample_rate_hz / self.hop_samples

    def filter_bank(self) -> Tensor:
        """Return the weights (F, M) of the linear frequencies in each band."""
        from torchaudio.functional import melscale_fbanks

        norm = "slaney" if self.area_norm else None
        return melscale_fbanks(
            self.fft_size // 2 + 1, self.low_hz, self.high_hz, self.n_mels, self.sample_rate_hz, norm, self.mel_scale
        )

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Return the number of frames: one centred on the first sample and one per hop after it; 0 without samples."""
        return (num_samples - 1).div(self.hop_samples, rounding_mode="floor") + 1


def padding_mask(lengths: Tensor, longest: int) -> Tensor:
    """Return a mask (B, longest) of (B,) lengths that is True at padded places."""
    return torch.arange(longest, device=lengths.device) >= lengths[:, None]


class LogMel(nn.Module):
    """Natural logarithm of mel band magnitudes, through torchaudio's STFT and filter bank."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram

        self.config = config
        self.spectrogram = MelSpectrogram(
            sample_rate=config.sample_rate_hz,
            n_fft=config.fft_size,
            win_length=config.window_samples,
            hop_length=config.hop_samples,
            f_min=config.low_hz,
            f_max=config.high_hz,
            n_mels=config.n_mels,
            power=1.0,
            norm="slaney" if config.area_norm else None,
            mel_scale=config.mel_scale,
            # Zeros beyond the ends: the frames are then equal alone and padded in a batch; with reflection they differ.
            pad_mode="constant",
        )

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-mel (B, T, M) with (B,) valid frames of audio (B, S) with (B,) valid samples; padding is 0."""
        if waveform.shape[1] == 0:  # a batch without samples must also return (B, T, M)
            waveform = waveform.new_zeros(len(waveform), 1)
        waveform = waveform.float().masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        longest = -(-waveform.shape[1] // self.config.hop_samples)
        mel = self.spectrogram(waveform).transpose(1, 2)[:, :longest].clamp(min=self.config.floor).log()  # (B, T, M)
        num_frames = self.config.num_frames(num_samples)
        return mel.masked_fill(padding_mask(num_frames, mel.shape[1])[..., None], 0.0), num_frames
