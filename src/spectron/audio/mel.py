"""Log-mel spectrograms whose valid frames do not depend on padding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from spectron.audio.speech_format import SpeechFormat
from spectron.errors import ConfigError
from spectron.ranges import NonNegative, Positive, Range, SampleRate, checks_ranges

# Slaney's mel scale: linear up to 1 kHz, then logarithmic (Auditory Toolbox, 1998).
SLANEY_HZ_PER_MEL = 200.0 / 3
SLANEY_LOG_HZ = 1000.0
SLANEY_LOG_MEL = SLANEY_LOG_HZ / SLANEY_HZ_PER_MEL
SLANEY_LOG_STEP = math.log(6.4) / 27.0
Milliseconds = Annotated[float, Range(0, 10_000, open_low=True)]


@checks_ranges
@dataclass
class MelConfig(SpeechFormat):
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

    sample_rate_hz: SampleRate = 16000
    frame_shift_ms: Milliseconds = 12.5
    window_ms: Milliseconds = 50.0
    n_mels: Annotated[int, Range(1, 4096)] = 128
    low_hz: NonNegative = 20.0
    high_hz: Positive = 8000.0
    floor: Positive = 1.0e-5
    mel_scale: Literal["htk", "slaney"] = "htk"
    area_norm: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ConfigError(
                f"mel bands need 0 <= low_hz < high_hz <= {self.sample_rate_hz / 2} Hz, "
                f"got {self.low_hz} to {self.high_hz}",
                key="high_hz",
            )
        for name, samples in (("frame_shift_ms", self.hop_samples), ("window_ms", self.window_samples)):
            if samples < 1:
                shortest = f"{1000 / self.sample_rate_hz:g}"
                raise ConfigError(
                    f"must be at least one sample, {shortest} ms, got {getattr(self, name):g} ms",
                    key=name,
                    allowed=[f"at least {shortest}"],
                )

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
        """Return the weights of the linear frequencies (F) in each band: (F, M), triangles on the mel scale."""
        frequencies = torch.linspace(0, self.sample_rate_hz // 2, self.fft_size // 2 + 1)
        edges = torch.linspace(self._mel_of(self.low_hz), self._mel_of(self.high_hz), self.n_mels + 2)
        edges = self._hz_of(edges)
        distances = edges - frequencies[:, None]  # (F, M + 2)
        widths = edges.diff()
        weights = torch.minimum(-distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]).clamp(min=0)
        return weights * (2.0 / (edges[2:] - edges[:-2])) if self.area_norm else weights

    def _mel_of(self, hz: float) -> float:
        """Return the place of a frequency on the mel scale."""
        if self.mel_scale == "htk":
            return 2595.0 * math.log10(1.0 + hz / 700.0)
        linear = hz / SLANEY_HZ_PER_MEL
        return linear if hz < SLANEY_LOG_HZ else SLANEY_LOG_MEL + math.log(hz / SLANEY_LOG_HZ) / SLANEY_LOG_STEP

    def _hz_of(self, mels: Tensor) -> Tensor:
        """Return the frequencies of places on the mel scale."""
        if self.mel_scale == "htk":
            return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
        above = SLANEY_LOG_HZ * torch.exp(SLANEY_LOG_STEP * (mels - SLANEY_LOG_MEL))
        return torch.where(mels >= SLANEY_LOG_MEL, above, SLANEY_HZ_PER_MEL * mels)

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Return the number of frames: one centred on the first sample and one per hop after it; 0 without samples."""
        return (num_samples - 1).div(self.hop_samples, rounding_mode="floor") + 1

    def example(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-mel (B, T, M) of recordings (B, S), and (B,) valid frames."""
        return LogMel(self).to(waveform.device)(waveform, num_samples)


def mel_at_rate(settings: MelConfig, sample_rate_hz: int) -> MelConfig:
    """Return the settings for audio of another sample rate, with the highest frequency at most half the rate."""
    return replace(settings, sample_rate_hz=sample_rate_hz, high_hz=min(settings.high_hz, sample_rate_hz / 2))


def padding_mask(lengths: Tensor, longest: int) -> Tensor:
    """Return a mask (B, longest) of (B,) lengths that is True at padded places."""
    return torch.arange(longest, device=lengths.device) >= lengths[:, None]


class MagnitudeSpectrogram(nn.Module):
    """Magnitudes of the short-time Fourier transform, under a periodic Hann window."""

    window: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.window_samples))

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform (B, S) into (B, F, T), one frame centred on the first sample and one every hop after."""
        return torch.stft(
            waveform,
            self.config.fft_size,
            self.config.hop_samples,
            self.config.window_samples,
            self.window,
            # Zeros beyond the ends: a recording then looks the same alone and padded in a batch. Reflection would not.
            pad_mode="constant",
            return_complex=True,
        ).abs()


class MelBands(nn.Module):
    """Sums of frequencies in mel bands."""

    fb: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.register_buffer("fb", config.filter_bank())

    def forward(self, magnitudes: Tensor) -> Tensor:
        """Sum (B, F, T) into (B, T, M)."""
        return magnitudes.transpose(1, 2) @ self.fb


class MelSpectrogram(nn.Module):
    """Mel band magnitudes. Window and filter bank are buffers with the names that torchaudio gives them."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.spectrogram = MagnitudeSpectrogram(config)
        self.mel_scale = MelBands(config)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform (B, S) into (B, T, M)."""
        return self.mel_scale(self.spectrogram(waveform))


class LogMel(nn.Module):
    """Natural logarithm of mel band magnitudes."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = MelSpectrogram(config)

    @torch.autocast("cuda", enabled=False)
    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-mel (B, T, M) with (B,) valid frames of audio (B, S) with (B,) valid samples; padding is 0."""
        if waveform.shape[1] == 0:  # a batch without samples must also return (B, T, M)
            waveform = waveform.new_zeros(len(waveform), 1)
        waveform = waveform.float().masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        longest = -(-waveform.shape[1] // self.config.hop_samples)
        mel = self.spectrogram(waveform)[:, :longest].clamp(min=self.config.floor).log()  # (B, T, M)
        num_frames = self.config.num_frames(num_samples)
        return mel.masked_fill(padding_mask(num_frames, mel.shape[1])[..., None], 0.0), num_frames
