"""Number of frames of MP3 files.

An encoder writes an Info frame before the sound, which states the number of frames. Without it, libsndfile guesses the
length from the size of the first frame, reads no further than its guess, and drops the rest without an error. It also
stops at the stated number if another MP3 was appended. So the frames are counted here.

Source: ISO/IEC 11172-3 and 13818-3 (frame header), the Info frame of Xing and LAME.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

KBPS = {  # bit rates of layer III by MPEG version; the lower sample rates have their own
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES_HZ = (44100, 48000, 32000)
MPEG_1 = 3  # version bits
RATE_DIVISORS = {MPEG_1: 1, 2: 2, 0: 4}  # by the version bits of MPEG 1, 2 and 2.5
HEADER_BYTES = 4
INFO_WITHIN = 44  # bytes of a frame in which the mark of an Info frame begins
MARKS = (b"Xing", b"Info")
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of an Info frame
ID3 = b"ID3"
SIZE_TOLERANCE = 0.01  # tags at the end make a file a little larger than its Info frame states

Content = bytes | mmap.mmap


class Frame(NamedTuple):
    """Header of a frame: its size in bytes, its samples per channel, and its sample rate."""

    size: int
    samples: int
    rate_hz: int


@dataclass(frozen=True)
class Mp3Length:
    """Length of an MP3 in seconds.

    Attributes:
        stated: What the Info frame states; None without such a statement.
        counted: Length of all frames; None if not counted, because the size of the file agrees with the Info frame.
    """

    stated: float | None
    counted: float | None


def mp3_length(path: Path) -> Mp3Length | None:
    """Return the length of an MP3, or None if the file contains no frames of layer III.

    Frames are counted only if no Info frame states their number, or if the file is larger than its Info frame states.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = _next_frame(content, 0)
        if found is None:
            return None
        begin, frame = found
        frames, size = _info(content[begin : begin + frame.size])
        if frames is None:
            return Mp3Length(None, _seconds(content, begin))
        agrees = size is not None and len(content) - begin <= size * (1 + SIZE_TOLERANCE)
        counted = None if agrees else _seconds(content, begin + frame.size)
        return Mp3Length(frames * frame.samples / frame.rate_hz, counted)


def with_info_frame(path: Path) -> io.BytesIO:
    """Return an MP3 in memory, with an Info frame before it that states its number of frames."""
    content = path.read_bytes()
    found = _next_frame(content, 0)
    if found is None:
        return io.BytesIO(content)
    begin, frame = found
    header = bytearray(content[begin : begin + HEADER_BYTES])
    header[1] |= 1  # no checksum
    header[2] = (header[2] & 0x0C) | 0xE0  # the highest bit rate, which makes room for the mark; no padding
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if frame.samples == 1152 else (9 if mono else 17)  # bytes before the mark
    count = struct.pack(">II", HAS_FRAMES, sum(1 for _ in _frames(content, begin)))
    info = (bytes(header) + bytes(side) + MARKS[0] + count).ljust(_size(header), b"\0")
    return io.BytesIO(info + content[begin:])


def _seconds(content: Content, place: int) -> float:
    """Return the duration of all frames from a place on."""
    return sum(frame.samples / frame.rate_hz for frame in _frames(content, place))


def _frames(content: Content, place: int) -> Iterator[Frame]:
    """Yield the complete frames from a place on, also those after a gap, such as a tag between two files."""
    found = _next_frame(content, place)
    while found is not None:
        place, first = found
        frame: Frame | None = first
        while frame is not None and place + frame.size <= len(content):
            yield frame
            place += frame.size
            frame = _frame_at(content, place)
        found = _next_frame(content, place)


def _next_frame(content: Content, place: int) -> tuple[int, Frame] | None:
    """Return place and header of the next frame; a header counts only if another one of its rate follows it."""
    while content[place : place + 3] == ID3 and len(content) >= place + 10:
        a, b, c, d = content[place + 6 : place + 10]
        place += 10 + (a << 21 | b << 14 | c << 7 | d)
    while (place := content.find(b"\xff", place)) >= 0:
        frame = _frame_at(content, place)
        following = None if frame is None else _frame_at(content, place + frame.size)
        if frame is not None and following is not None and following.rate_hz == frame.rate_hz:
            return place, frame
        place += 1
    return None


def _frame_at(content: Content, place: int) -> Frame | None:
    """Return the header at a place, or None if there is no header of layer III."""
    header = content[place : place + HEADER_BYTES]
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate, rank = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version not in RATE_DIVISORS or rate == 3 or not 1 <= rank <= 14:
        return None
    return Frame(_size(header), 1152 if version == MPEG_1 else 576, RATES_HZ[rate] // RATE_DIVISORS[version])


def _size(header: bytes | bytearray) -> int:
    """Return the bytes of a frame with a valid header."""
    version, rate, rank = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    kbps, eighth = (KBPS[1], 144) if version == MPEG_1 else (KBPS[2], 72)  # an eighth of the samples of a frame
    return eighth * kbps[rank - 1] * 1000 // (RATES_HZ[rate] // RATE_DIVISORS[version]) + (header[2] >> 1 & 1)


def _info(frame: bytes) -> tuple[int | None, int | None]:
    """Return the numbers of frames and of bytes that an Info frame states; None for what it does not state."""
    mark = next((place for name in MARKS if (place := frame.find(name, HEADER_BYTES, INFO_WITHIN)) >= 0), None)
    if mark is None:
        return None, None
    flags, *numbers = struct.unpack(">III", frame[mark + 4 : mark + 16].ljust(12, b"\0"))
    if not flags & HAS_FRAMES:
        return None, None
    return numbers[0], numbers[1] if flags & HAS_BYTES else None
