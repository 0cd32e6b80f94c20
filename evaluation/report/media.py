"""Audio and spectrograms as ``data:`` URLs, which make a page self-contained."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.resampling import resample
from spectron.files import is_file

PICTURE_MEL = MelConfig(n_mels=64, frame_shift_ms=25.0)  # the resolution that is visible at this size
# One scale for all pictures, in log-mel of a waveform between -1 and 1, so that brightness can be compared.
DARKEST, BRIGHTEST = -6.0, 4.0
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LEAST_SAMPLES = 16  # shorter audio is neither audible nor visible


@dataclass(frozen=True)
class Clip:
    """Recording on a page: ``data:`` URLs of its sound and its spectrogram, and its duration in seconds."""

    sound: str
    picture: str
    seconds: float


@dataclass
class Media:
    """Clips of a page, each file once; ``spent`` is the number of characters that their URLs take."""

    spent: int = 0
    _clips: dict[Path, Clip | None] = field(default_factory=dict)

    def clip(self, path: Path) -> Clip | None:
        """Return the clip of a file; None if it is missing, as in a folder that was copied without ``audio/``.

        Raises:
            DataError: if the file is broken.
        """
        if path not in self._clips:
            self._clips[path] = clip = _make_clip(path) if is_file(path) else None
            self.spent += len(clip.sound) + len(clip.picture) if clip else 0
        return self._clips[path]


def _make_clip(path: Path) -> Clip | None:
    """Return the clip of an existing file; None if it is too short."""
    return clip_of(*read_audio(path))


def clip_of(waveform: Tensor, rate_hz: int) -> Clip | None:
    """Return the clip of a waveform (S,); None if it is too short."""
    if len(waveform) < LEAST_SAMPLES:
        return None
    return Clip(sound_url(waveform, rate_hz), picture_url(waveform, rate_hz), len(waveform) / rate_hz)


def sound_url(waveform: Tensor, rate_hz: int) -> str:
    """Return a waveform (S,) as MP3, which every browser plays, or as WAV if libsndfile was built without MP3."""
    buffer, samples = io.BytesIO(), waveform.clamp(-1.0, 1.0)
    if "MP3" in soundfile.available_formats():
        nearest_hz = min((rate for rate in MP3_RATES_HZ if rate >= rate_hz), default=MP3_RATES_HZ[-1])
        resampled = resample(samples, rate_hz, nearest_hz).clamp(-1.0, 1.0)
        quality = {"bitrate_mode": "VARIABLE", "compression_level": 0.6}  # about 35 kbit/s at 16 kHz
        soundfile.write(buffer, resampled.numpy(), nearest_hz, format="MP3", subtype="MPEG_LAYER_III", **quality)
        return _data_url("audio/mpeg", buffer)
    soundfile.write(buffer, samples.numpy(), rate_hz, format="WAV", subtype="PCM_16")
    return _data_url("audio/wav", buffer)


def picture_url(waveform: Tensor, rate_hz: int) -> str:
    """Return the log-mel spectrogram of a waveform (S,) as PNG: a pixel per frame and band, low bands at the bottom."""
    from matplotlib import colormaps
    from PIL import Image

    resampled = resample(waveform, rate_hz, PICTURE_MEL.sample_rate_hz)
    mel = _picture_mel()(resampled[None], torch.tensor([len(resampled)]))[0][0]  # (T, M)
    brightness = ((mel - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0.0, 1.0)
    levels = brightness.mul(63).round().to(torch.uint8) * 4  # 64 levels compress better than 256
    picture = Image.fromarray(levels.T.flip(0).contiguous().numpy(), mode="L")
    picture.putpalette((colormaps["magma"](range(256), bytes=True)[:, :3]).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _data_url("image/png", buffer)


@lru_cache(maxsize=1)
def _picture_mel() -> LogMel:
    """Return the spectrogram of all pictures, cached because computing its filters takes longer than applying them."""
    return LogMel(PICTURE_MEL)


def _data_url(kind: str, buffer: io.BytesIO) -> str:
    """Return a buffer of a MIME type as a URL."""
    return f"data:{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
