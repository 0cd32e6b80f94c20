"""Input and output of audio files, with errors that name the file."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from spectron.errors import DataError
from spectron.files import written_whole

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # formats that libsndfile reads
UNKNOWN_LENGTH = (
    0x7FFF0000  # a WAV header with at least so many bytes of data was written as a stream of unknown length
)
TOLERANCE_SECONDS = 0.1  # a lossy file can be some frames shorter than its header states
FULL_SCALE = 32768  # libsndfile divides 16-bit samples by this number


def read_audio(path: str | Path, start: int = 0, num_samples: int = -1) -> tuple[Tensor, int]:
    """Read a recording, or a segment of it, as mono float32.

    Args:
        path: File in a format that libsndfile reads, such as WAV, FLAC, OGG or MP3.
        start: First sample of the segment, at the sample rate of the file.
        num_samples: Length of the segment in samples; -1 reads to the end.

    Returns:
        The waveform (S,), channels averaged, and its sample rate in Hz.

    Raises:
        DataError: if the file is missing, unreadable, empty, shorter than requested, or contains NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no audio file at {path}: check the path", file=path)
    try:
        # All audio is opened here, so every error of libsndfile becomes a DataError here.
        with soundfile.SoundFile(str(path)) as file:
            rate, whole = file.samplerate, num_samples < 0
            promised = _promised_samples(file) if whole else 0  # the length of a segment is checked below
            file.seek(start)
            samples = file.read(num_samples, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is an empty file: copy it again or remove it", file=path) from error
        raise DataError(
            f"cannot read {path} as audio ({error}): convert it to WAV or FLAC again, or remove it", file=path
        ) from error
    if len(samples) < num_samples:
        wanted = f"{num_samples} samples from sample {start}"
        raise DataError(
            f"{path} contains {len(samples)} instead of {wanted}: it is empty or truncated. Copy it again", file=path
        )
    if len(samples) == 0:
        raise DataError(
            f"{path} contains no samples: it is empty or truncated. Record it again or remove it", file=path
        )
    if whole and start + len(samples) < promised - TOLERANCE_SECONDS * rate:
        stated, found = promised / rate, (start + len(samples)) / rate
        raise DataError(
            f"{path} is truncated: its header states {stated:.2f} s, but it contains {found:.2f} s. "
            "Copy it again or remove it",
            file=path,
        )
    waveform = torch.from_numpy(samples.mean(axis=1))
    if not torch.isfinite(waveform).all():
        raise DataError(f"{path} contains samples that are not finite numbers: convert it again", file=path)
    return waveform, rate


def _promised_samples(file: soundfile.SoundFile) -> float:
    """Return the number of samples that the header states.

    For a WAV, libsndfile returns the number of existing samples; the bytes of the header are only in its log.
    """
    stated = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if stated is None or int(stated[1]) >= UNKNOWN_LENGTH or int(stated[2]) == 0:
        return file.frames
    return file.frames * int(stated[1]) / int(stated[2])


def to_16_bits(waveform: Tensor) -> Tensor:
    """Return a waveform clipped to -1 and 1 and rounded to 16 bits, as it is read from a file of ``write_wav``."""
    return (waveform.detach().float() * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def write_wav(path: str | Path, waveform: Tensor, sample_rate_hz: int) -> None:
    """Write a mono waveform (S,) as 16-bit WAV and make its folder; values beyond -1 and 1 are clipped.

    Raises:
        DataError: if the file cannot be written.
    """
    path = Path(path)
    samples = (to_16_bits(waveform) * FULL_SCALE).to(torch.int16).cpu().numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            soundfile.write(str(part), samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"cannot write {path} ({error}): choose a writable folder", file=path) from error
