"""Reading and writing audio files, with errors that name the file."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from spectron.errors import DataError
from spectron.files import written_whole

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # names of files that libsndfile reads
UNKNOWN_LENGTH = 0x7FFF0000  # a WAV's bytes of data, this or more: written as a stream, before its length was known
TOLERANCE_SECONDS = 0.1  # a lossy file may be some frames shorter than its header tells
FULL_SCALE = 32768  # of 16-bit samples, by which libsndfile divides when it reads them


def read_audio(path: str | Path, start: int = 0, num_samples: int = -1) -> tuple[Tensor, int]:
    """Read a recording, or a stretch of one, as mono float32.

    Args:
        path: Any format that libsndfile reads: WAV, FLAC, OGG, MP3.
        start: First sample of the stretch, at the file's own rate.
        num_samples: Length of the stretch; -1 reads to the end.

    Returns:
        The waveform (S,), channels averaged, and its sample rate in Hz.

    Raises:
        DataError: if the file is missing, unreadable, empty, shorter than the stretch, or holds values that are no
            numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no audio file at {path}: check the path")
    try:
        # read_audio is the one place that opens audio, so whatever libsndfile objects to becomes our error here.
        with soundfile.SoundFile(str(path)) as file:
            rate, whole = file.samplerate, num_samples < 0
            promised = _promised_samples(file) if whole else 0  # a stretch tells by its own length whether it is there
            file.seek(start)
            samples = file.read(num_samples, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is an empty file: copy it again, or leave it out") from error
        raise DataError(
            f"cannot read {path} as audio ({error}): convert it to WAV or FLAC again, or leave it out"
        ) from error
    if len(samples) < num_samples:
        wanted = f"{num_samples} samples from sample {start}"
        raise DataError(f"{path} holds {len(samples)} samples where {wanted} were asked for: it is empty or cut short")
    if len(samples) == 0:
        raise DataError(f"{path} holds no sample: it is empty or cut short. Record it again, or leave it out")
    if whole and start + len(samples) < promised - TOLERANCE_SECONDS * rate:
        told, held = promised / rate, (start + len(samples)) / rate
        raise DataError(
            f"{path} is cut short: its header tells of {told:.2f} s, and it holds {held:.2f} "
            "s. Copy it again, or leave it out"
        )
    waveform = torch.from_numpy(samples.mean(axis=1))
    if not torch.isfinite(waveform).all():
        raise DataError(f"{path} holds samples that are not finite numbers: convert it again")
    return waveform, rate


def _promised_samples(file: soundfile.SoundFile) -> float:
    """Samples that a header tells of. Of a WAV libsndfile gives those that are there, and the header's bytes in its log
    alone.
    """
    told = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if told is None or int(told[1]) >= UNKNOWN_LENGTH or int(told[2]) == 0:
        return file.frames
    return file.frames * int(told[1]) / int(told[2])


def to_16_bits(waveform: Tensor) -> Tensor:
    """A waveform as it is read again from the WAV that ``write_wav`` makes of it: clipped to -1 and 1, on the grid of
    16-bit samples.
    """
    return (waveform.detach().float() * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def write_wav(path: str | Path, waveform: Tensor, sample_rate_hz: int) -> None:
    """Write a mono waveform (S,) as 16-bit WAV, making its folder; values beyond -1 and 1 are clipped.

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
        raise DataError(f"cannot write {path} ({error}): choose a folder that you may write to") from error
