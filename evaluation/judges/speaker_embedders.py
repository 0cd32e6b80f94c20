"""Resemblyzer's speaker encoder."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.resampling import resample
from spectron.errors import require_extra
from spectron.evaluation.judges.judge import SpeakerEmbedder


class MelPower(nn.Module):
    """Power of librosa's default mel bands (Slaney's scale and area norm), with zeros beyond the ends."""

    window: Tensor
    bands: Tensor

    def __init__(self, rate_hz: int, window: int, hop: int, bands: int) -> None:
        super().__init__()
        from librosa.filters import mel  # resemblyzer needs librosa itself

        self.hop = hop
        self.register_buffer("window", torch.hann_window(window))
        self.register_buffer("bands", torch.from_numpy(mel(sr=rate_hz, n_fft=window, n_mels=bands)).T)  # (F, M)

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform (B, S) into (B, T, M)."""
        sizes = (len(self.window), self.hop, len(self.window), self.window)
        spectrum = torch.stft(waveform, *sizes, pad_mode="constant", return_complex=True)  # (B, F, T)
        return spectrum.abs().square().transpose(1, 2) @ self.bands


class ResemblyzerEmbedder(SpeakerEmbedder):
    """Resemblyzer's speaker encoder (GE2E, arXiv:1710.10467) with its mel front end in torch, in batches.

    The result equals ``VoiceEncoder().embed_utterance(preprocess_wav(wav))`` of resemblyzer at its own rate of 16 kHz:
    the volume is raised to -30 dBFS, long silences are cut, and the embeddings of windows of 1.6 s (1.3 per second; the
    last one is kept if it is three quarters full) are averaged. Differences: webrtcvad detects silences on the CPU, on
    16-bit samples, and the platform's resampler converts other sample rates, not librosa's.

    Args:
        trim_silences: Cut long silences, as ``preprocess_wav`` does; if false, the result is that of
            ``embed_utterance`` on the volume-normalised recording.

    Raises:
        ConfigError: if the package is not installed.
    """

    RATE_HZ, HOP, WINDOW, BANDS, FRAMES = 16000, 160, 400, 40, 160
    WINDOWS_TOGETHER = 128
    WINDOWS_A_SECOND, LEAST_COVERAGE, TARGET_DBFS = 1.3, 0.75, -30

    def __init__(self, trim_silences: bool = True) -> None:
        super().__init__()
        self.trim_silences = trim_silences
        self.package: Any = None
        require_extra("judges", "ResemblyzerEmbedder", "resemblyzer")

    @property
    def title(self) -> str:
        """Return the class and the treatment of silences."""
        return f"ResemblyzerEmbedder(trim_silences={self.trim_silences})"

    def load(self) -> None:
        """Read the encoder and build the front end."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecation warnings of webrtcvad and scipy
            self.package = importlib.import_module("resemblyzer")
        self.encoder = self.package.VoiceEncoder("cpu", verbose=False)
        self.mel = MelPower(self.RATE_HZ, self.WINDOW, self.HOP, self.BANDS)

    def embed(self, waveforms: list[Tensor], sample_rate_hz: int) -> Tensor:
        """Embed waveforms (S,) as (B, 256); a row of NaN if only silence is found."""
        device = self.mel.window.device
        voices = [
            self.preprocess(resample(waveform.cpu().float(), sample_rate_hz, self.RATE_HZ)).to(device)
            for waveform in waveforms
        ]
        result = torch.full((len(voices), self.encoder.linear.out_features), torch.nan, device=device)
        found = [row for row, voice in enumerate(voices) if len(voice)]
        if found:
            result[found] = self.embed_voices([voices[row] for row in found])
        return result

    def preprocess(self, waveform: Tensor) -> Tensor:
        """Normalise the volume and cut the silences of one waveform (S,); empty if no voice is found."""
        if not waveform.any():
            return waveform[:0]
        loudness_db = 10 * waveform.double().square().mean().log10()
        waveform = waveform * 10 ** (max(self.TARGET_DBFS - loudness_db.item(), 0) / 20)  # raised, never lowered
        if not self.trim_silences:
            return waveform
        samples = waveform.clamp(-1, 1).numpy()
        return torch.from_numpy(self.without_long_silences(samples))

    def without_long_silences(self, samples: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
        """Cut a waveform (S,) between -1 and 1 as resemblyzer's ``trim_long_silences`` does.

        Resemblyzer packs samples into bytes one by one, which took a third of the time of a similarity.
        """
        settings = self.package.hparams
        window = settings.vad_window_length * self.RATE_HZ // 1000
        samples = samples[: len(samples) // window * window]
        if not len(samples):
            return samples
        pcm = numpy.round(samples * self.package.audio.int16_max).astype(numpy.int16).reshape(-1, window)
        detector = self.package.audio.webrtcvad.Vad(mode=3)
        voiced = numpy.array(
            [detector.is_speech(part.tobytes(), sample_rate=self.RATE_HZ) for part in pcm], dtype=float
        )
        width = settings.vad_moving_average_width
        around = numpy.convolve(numpy.pad(voiced, ((width - 1) // 2, width // 2)), numpy.ones(width), "valid") / width
        kept = binary_dilation(numpy.round(around).astype(bool), numpy.ones(settings.vad_max_silence_length + 1))
        return samples[numpy.repeat(kept, window)]

    def embed_voices(self, voices: list[Tensor]) -> Tensor:
        """Embed preprocessed waveforms (S,) as (B, E), with the windows of all waveforms in one batch."""
        starts = [self.window_starts(len(voice)) for voice in voices]
        # One window beyond the longest: no slice ends early, and the zeros are the same as resemblyzer's padding.
        padded = pad_sequence(voices, batch_first=True)
        missing = max(rows[-1] + self.FRAMES for rows in starts) * self.HOP - padded.shape[1]
        mel = self.mel(torch.nn.functional.pad(padded, (0, max(missing, 0))))  # (B, T, M)
        windows = torch.stack(
            [mel[row, begin : begin + self.FRAMES] for row, begins in enumerate(starts) for begin in begins]
        )
        # Limits the memory for a recording of any length.
        embeddings = torch.cat([self.encoder(some) for some in windows.split(self.WINDOWS_TOGETHER)])
        parts = embeddings.split([len(begins) for begins in starts])
        return torch.nn.functional.normalize(torch.stack([part.mean(0) for part in parts]), dim=1, eps=0.0)

    def window_starts(self, num_samples: int) -> list[int]:
        """Return the first frames of the windows of a waveform, by resemblyzer's rule."""
        slices = self.encoder.compute_partial_slices(num_samples, self.WINDOWS_A_SECOND, self.LEAST_COVERAGE)[1]
        return [int(window.start) for window in slices]
