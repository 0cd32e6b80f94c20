"""Input and output of audio files, with errors that name the file.

Headers are not trusted: a length is compared with what the file holds, and memory is only taken for samples that exist.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectron.audio.mp3 import mp3_length, with_info_frame
from spectron.errors import DataError
from spectron.files import is_file, writing, written_whole

logger = logging.getLogger(__name__)

# Formats that libsndfile reads, by the usual suffixes; uncompressed ones first.
AUDIO_SUFFIXES = (
    *(".wav", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd", ".sph"),
    *(".flac", ".ogg", ".oga", ".opus", ".mp3"),
)
UNKNSTATED_SIZE = (
    0x7FFF0000  # a WAV header with at least so many bytes of data was written as a stream of unknown length
)
TOLERANCE_SECONDS = 0.1  # a lossy file can be some frames shorter than its header states
FULL_SCALE = 32768  # libsndfile divides 16-bit samples by this number
# Samples of a floating-point file may exceed 1 a little. Integers that were written as floats exceed it a lot.
LOUDEST = 16.0
SAMPLE_RATES_HZ = (1000, 768_000)  # lowest and highest rate that any recorder uses
# No format stores more samples in a byte: a longer length is a wrong or missing one. A FLAC of silence has about 4700.
SAMPLES_PER_BYTE = 8192
BLOCK_SAMPLES = 1 << 20  # samples of all channels that are read together
# The mean of channels is much quieter than the channels only if their signals cancel each other out.
CANCELLED = 0.28
STATED_SIZE = re.compile(r"^ *(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


class AudioHeader(NamedTuple):
    """Header of an audio file.

    Attributes:
        frames: Number of samples per channel, at least 1.
        rate: Sample rate in Hz.
        channels: Number of channels.
        is_float: Whether the samples are stored as floating-point numbers.
    """

    frames: int
    rate: int
    channels: int = 1
    is_float: bool = False

    @property
    def seconds(self) -> float:
        """Return the duration in seconds."""
        return self.frames / self.rate


def read_header(path: str | Path) -> AudioHeader:
    """Read the header of an audio file; a length that the header lacks is counted.

    Raises:
        DataError: if the file is missing, unreadable, empty, or shorter than its header states.
    """
    path = Path(path)
    with _opened(path) as file:
        promised = _promised_samples(file, path)
        frames = file.frames if promised else sum(map(len, _blocks(file, math.inf)))
        if frames == 0:
            raise _empty(path)
        _require_whole(path, frames, promised, file.samplerate)
        return AudioHeader(frames, file.samplerate, file.channels, file.subtype in ("FLOAT", "DOUBLE"))


def examine_audio(path: str | Path) -> AudioHeader:
    """Check a recording once, when a manifest is written, and return its header.

    The end of every file is read. Files with several channels or floating-point samples are read as a whole, because
    their samples can be wrong although the file is readable.

    Raises:
        DataError: if ``read_audio`` would refuse the file.
    """
    header = read_header(path)
    if header.channels > 1 or header.is_float:
        read_audio(path)
    else:
        read_audio(path, max(0, math.floor(header.frames - TOLERANCE_SECONDS * header.rate) - 1), 1)
    return header


def read_audio(path: str | Path, start: int = 0, num_samples: int = -1) -> tuple[Tensor, int]:
    """Read a recording, or a segment of it, as mono float32.

    Channels are averaged. If they cancel each other out, the first channel is taken, with a warning.

    Args:
        path: File in a format that libsndfile reads, such as WAV, FLAC, OGG or MP3.
        start: First sample of the segment, at the sample rate of the file.
        num_samples: Length of the segment in samples; -1 reads to the end.

    Returns:
        The waveform (S,) and its sample rate in Hz.

    Raises:
        DataError: if the file is missing, unreadable, empty, shorter than requested, or contains samples that are not
            finite or far beyond full scale.
    """
    path = Path(path)
    with _opened(path) as file:
        rate, whole = file.samplerate, num_samples < 0
        promised = _promised_samples(file, path) if whole else 0.0  # the length of a segment is checked below
        if start:
            file.seek(start)
        blocks = list(_blocks(file, math.inf if whole else num_samples))
        samples = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
    if len(samples) < num_samples:
        wanted = f"{num_samples} samples from sample {start}"
        raise DataError(
            f"{path} contains {len(samples)} instead of {wanted}: it is empty or truncated. Copy it again", file=path
        )
    if len(samples) == 0:
        raise _empty(path)
    _require_whole(path, start + len(samples), promised, rate)
    require_plausible(torch.from_numpy(samples), str(path), path)
    return torch.from_numpy(_mono(samples, path)), rate


def require_plausible(samples: Tensor, name: str, file: Path | None = None) -> None:
    """Refuse samples that are not finite, or that are integers instead of fractions of full scale.

    Args:
        samples: Samples, at least one.
        name: Name of the recording, for the message.
        file: Its file, if any.

    Raises:
        DataError: if a sample is not finite, or far beyond 1.
    """
    if not torch.isfinite(samples).all():
        raise DataError(f"{name} contains samples that are not finite numbers: convert it again", file=file)
    if (peak := float(samples.abs().max())) > LOUDEST:
        raise DataError(
            f"{name} contains samples up to {peak:g}, but full scale is 1: they are integers or damaged. Divide "
            "integers by 32768 (for 16 bits), or convert the original again",
            file=file,
        )


class _SequentialFile(soundfile.SoundFile):
    """Audio file that is read in sequence.

    After each read, soundfile moves a seekable file to the place where it already is. This fails at the end of a FLAC
    without a length, and the samples are lost.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file; every error of libsndfile becomes a ``DataError`` here.

    Raises:
        DataError: if the file is missing, unreadable, or has an impossible sample rate.
    """
    if not is_file(path):
        raise DataError(f"no audio file at {path}: check the path", file=path)
    try:
        with _SequentialFile(_source(path)) as file:
            if not SAMPLE_RATES_HZ[0] <= file.samplerate <= SAMPLE_RATES_HZ[1]:
                low, high = SAMPLE_RATES_HZ
                raise DataError(
                    f"{path} has a sample rate of {file.samplerate} Hz, which should be from {low} to {high}: "
                    "its header is damaged. Convert it again or remove it",
                    file=path,
                )
            yield file
    # soundfile answers to some damaged files with TypeError or ValueError.
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError, ValueError) as error:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is an empty file: copy it again or remove it", file=path) from error
        raise DataError(
            f"cannot read {path} as audio ({error}): convert it to WAV or FLAC again, or remove it", file=path
        ) from error


def _source(path: Path) -> str | object:
    """Return what libsndfile should open: the path, or the repaired content of an MP3 that does not state its length.

    An MP3 with more sound than its Info frame states is named in a warning.
    """
    with open(path, "rb") as file:
        head = file.read(3)
    if head[:1] != b"\xff" and head != b"ID3":
        return str(path)
    length = mp3_length(path)
    if length is None:
        return str(path)
    if length.stated is None:
        return with_info_frame(path)
    if length.counted is not None and length.counted > length.stated * 1.02:
        _warn_once(
            f"{path} states {length.stated:.1f} s, but contains {length.counted:.1f} "
            "s, of which only the first are read: were two MP3 files joined? Convert each of them to WAV first"
        )
    return str(path)


def _blocks(file: soundfile.SoundFile, num_samples: float) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (S, channels) from the current place on, until ``num_samples`` or the end of the file."""
    size = max(1, min(BLOCK_SAMPLES // file.channels, file.frames))
    while num_samples > 0:
        block = file.read(int(min(size, num_samples)), dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        num_samples -= len(block)
        yield block


def _promised_samples(file: soundfile.SoundFile, path: Path) -> float:
    """Return the number of samples that the header states; 0 if it states none, or more than the file can hold.

    For a truncated file of some formats, such as WAV, libsndfile returns the number of existing samples. The bytes that
    the header states are then only in its log.
    """
    if file.frames * file.channels > path.stat().st_size * SAMPLES_PER_BYTE:
        return 0.0
    stated = STATED_SIZE.search(file.extra_info)
    if stated is None or int(stated[1]) >= UNKNSTATED_SIZE or int(stated[2]) == 0:
        return file.frames
    return file.frames * int(stated[1]) / int(stated[2])


def _require_whole(path: Path, existing: int, promised: float, rate: int) -> None:
    """Refuse a file that is shorter than its header states."""
    if existing < promised - TOLERANCE_SECONDS * rate:
        raise DataError(
            f"{path} is truncated: its header states {promised / rate:.2f} s, but it contains {existing / rate:.2f} s. "
            "Copy it again or remove it",
            file=path,
        )


def _empty(path: Path) -> DataError:
    return DataError(f"{path} contains no samples: it is empty or truncated. Record it again or remove it", file=path)


def _mono(samples: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Return the mean (S,) of channels (S, C), or the first one if they cancel each other out."""
    mean, channels = samples.mean(axis=1), samples.shape[1]
    if channels == 1 or _loudness(mean) * math.sqrt(channels) >= CANCELLED * _loudness(samples):
        return mean
    _warn_once(
        f"the channels of {path} cancel each other out, as with one channel in opposite phase: only the first channel "
        "is used"
    )
    return samples[:, 0].copy()


def _loudness(samples: NDArray[np.float32]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.square(samples).mean()))


@cache
def _warn_once(message: str) -> None:
    """Log a warning about a file the first time that it is read."""
    logger.warning(message)


def to_16_bits(waveform: Tensor) -> Tensor:
    """Return a waveform clipped to -1 and 1 and rounded to 16 bits, as it is read from a file of ``write_wav``."""
    return (waveform.detach().float() * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def write_wav(path: str | Path, waveform: Tensor, sample_rate_hz: int) -> None:
    """Write a mono waveform (S,) as 16-bit WAV and make its folder; values beyond -1 and 1 are clipped.

    Raises:
        WriteError: if the file cannot be written.
    """
    path = Path(path)
    samples = (to_16_bits(waveform) * FULL_SCALE).to(torch.int16).cpu().numpy()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, soundfile.LibsndfileError) as part:
        soundfile.write(str(part), samples, sample_rate_hz, format="WAV", subtype="PCM_16")
