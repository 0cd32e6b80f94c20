"""Speech of espeak-ng, with word times from the events of the synthesizer."""

from __future__ import annotations

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from spectron.audio.resampling import resample
from spectron.errors import DataError, did_you_mean, require_extra

SAMPLE_RATE_HZ = 16000
MARGIN_SECONDS = 0.05
PEAK = 0.7
SILENCE = 0.01

# Constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _CHARACTER_POSITION, _UTF8, _WORD_EVENT = 2, 1, 1, 1
_RATE, _VOLUME, _PITCH = 1, 2, 3


@dataclass(frozen=True)
class Voice:
    """Accent of espeak-ng with one of its voice variants."""

    accent: str
    variant: str
    gender: str

    @property
    def name(self) -> str:
        """Return the name of the speaker in manifests."""
        return f"{self.accent}-{self.variant}".lower()


# Alternating men and women as far as possible: a corpus with fewer voices uses the first ones.
TRAINING_VOICES = (
    Voice("en-us", "m3", "M"),
    Voice("en-us", "f2", "F"),
    Voice("en-us", "adam", "M"),
    Voice("en-us", "f4", "F"),
    Voice("en", "edward", "M"),
    Voice("en", "linda", "F"),
    Voice("en-us", "m7", "M"),
    Voice("en-gb-x-rp", "Annie", "F"),
    Voice("en-us", "Denis", "M"),
    Voice("en-gb-scotland", "max", "M"),
    Voice("en-us", "Andrea", "F"),
    Voice("en-us", "Storm", "M"),
    Voice("en-us", "steph", "F"),
    Voice("en-us", "ed", "M"),
    Voice("en-us", "grandma", "F"),
    Voice("en-us", "sandro", "M"),
    Voice("en-us", "Nguyen", "M"),
    Voice("en-us", "boris", "M"),
    Voice("en-us", "Mario", "M"),
    Voice("en-us", "iven3", "M"),
)
UNSEEN_SPEAKERS = (
    Voice("en-us", "f1", "F"),
    Voice("en-us", "Alex", "M"),
    Voice("en", "Gene", "M"),
    Voice("en-us", "f3", "F"),
    Voice("en-us", "quincy", "M"),
    Voice("en-us", "m6", "M"),
)
JUDGE_VOICES = (
    Voice("en-us", "m5", "M"),
    Voice("en", "m4", "M"),
    Voice("en-us", "klatt6", "M"),
    Voice("en-us", "robert", "M"),
    Voice("en-gb-x-rp", "miguel", "M"),
    Voice("en-us", "aunty", "F"),
    Voice("en-gb-scotland", "f5", "F"),
    Voice("en-us", "belinda", "F"),
    Voice("en-us", "anika", "F"),
    Voice("en-us", "Mike", "M"),
    Voice("en-us", "john", "M"),
    Voice("en-us", "shelby", "F"),
    Voice("en-us", "m8", "M"),
    Voice("en-us", "paul", "M"),
    Voice("en-us", "rob", "M"),
    Voice("en-us", "Hugo", "M"),
)


def voice_called(name: str) -> Voice:
    """Return a voice by its espeak name, such as ``en-us+f1``; its gender is empty.

    Raises:
        DataError: if the name lacks one of both parts.
    """
    accent, plus, variant = name.partition("+")
    if not (accent and plus and variant):
        raise DataError(
            f"there is no voice {name!r}: name an accent and a variant of espeak-ng, "
            f"such as {accent or 'en-us'}+{variant or 'f1'}"
        )
    return Voice(accent, variant, "")


@dataclass(frozen=True)
class Prosody:
    """Prosody of an utterance: words per minute, and pitch on espeak's scale from 0 to 99."""

    words_per_minute: int = 170
    pitch: int = 52


@dataclass
class Speech:
    """Waveform (S,) at ``SAMPLE_RATE_HZ``, and each word with its begin and end in seconds."""

    waveform: Tensor
    words: list[tuple[str, float, float]]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _espeak() -> ModuleType:
    """Return the package that contains espeak-ng.

    Raises:
        MissingExtraError: if it is not installed.
    """
    require_extra("synthetic", "synthetic speech", "espeakng_loader")
    import espeakng_loader

    return espeakng_loader


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load the synthesizer, and yield it with its sample rate.

    The state of its flutter and noise is kept between utterances and is not reset by its initialisation. Only loading
    the library again, which takes some milliseconds, makes an utterance independent of earlier ones.
    """
    espeak = _espeak()
    library = ctypes.CDLL(espeak.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeak.get_data_path()).encode(), 0)
    try:
        if rate <= 0:
            raise DataError(f"espeak-ng found no data at {espeak.get_data_path()}: install espeakng-loader again")
        library.espeak_ng_SetRandSeed(ctypes.c_long(0))  # otherwise the time seeds the noise of some voices
        yield library, rate
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)


def _select(library: ctypes.CDLL, voice: Voice) -> None:
    """Choose a voice.

    If a variant is missing, espeak silently uses its default voice. Therefore the file of the variant is checked.

    Raises:
        DataError: if the variant or the accent does not exist.
    """
    data = Path(_espeak().get_data_path())
    variants = [file.name for file in (data / "voices" / "!v").iterdir()]
    if voice.variant not in variants:
        raise DataError(
            f"espeak-ng has no variant {voice.variant!r} for a voice {voice.name}. "
            f"{did_you_mean(voice.variant, variants)}"
        )
    if library.espeak_SetVoiceByName(f"{voice.accent}+{voice.variant}".encode()) != 0:
        accents = [file.name.lower() for file in (data / "lang").rglob("en*")]
        raise DataError(f"espeak-ng has no accent {voice.accent!r}. {did_you_mean(voice.accent, accents)}")


def speak(text: str, voice: Voice, prosody: Prosody) -> Speech:
    """Speak a text; equal arguments always return equal samples.

    Digits, symbols and abbreviations are spoken as words. Word times are exact for plain lower-case words, and
    approximate for other texts. The function is not thread-safe, because the synthesizer has one state per process.

    Raises:
        DataError: if the voice does not exist or the synthesizer returns no audio.
    """
    chunks: list[np.ndarray] = []
    begins: dict[int, float] = {}

    def collect(samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            if events[index].type == _WORD_EVENT:
                begins[events[index].text_position - 1] = events[index].audio_position_ms / 1000
            index += 1
        return 0

    callback = _CALLBACK(collect)
    with _library() as (library, rate):
        library.espeak_SetSynthCallback(callback)
        _select(library, voice)
        # Some variants clip at the default volume of 100.
        for parameter, value in ((_RATE, prosody.words_per_minute), (_PITCH, prosody.pitch), (_VOLUME, 50)):
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTER_POSITION, 0, _UTF8, None, None)
    if not chunks or not any(chunk.any() for chunk in chunks):
        raise DataError(f"espeak-ng gave no audio for {text!r}")
    return _trimmed(torch.from_numpy(np.concatenate(chunks)).float(), rate, text, begins)


def _trimmed(samples: Tensor, rate: int, text: str, begins: dict[int, float]) -> Speech:
    """Return speech with equal margins of silence and a fixed peak, and its word times moved accordingly."""
    loud = (samples.abs() > SILENCE * samples.abs().max()).nonzero().flatten()
    first, last = int(loud[0]), int(loud[-1]) + 1
    margin = round(MARGIN_SECONDS * rate)
    waveform = resample(
        torch.nn.functional.pad(samples, (margin, margin))[first : last + 2 * margin], rate, SAMPLE_RATE_HZ
    )
    waveform = waveform * (PEAK / waveform.abs().max())
    # The event of the first word is at the first sample, which can be silent.
    words = word_times(text, begins | {0: first / rate}, last / rate)
    shift = MARGIN_SECONDS - first / rate
    moved = [(word, round(begin + shift, 3), round(end + shift, 3)) for word, begin, end in words]
    return Speech(waveform, moved)


def word_times(text: str, begins: dict[int, float], end: float) -> list[tuple[str, float, float]]:
    """Return begin and end of each word of a text in seconds.

    Args:
        text: Words with single spaces.
        begins: Begin in seconds of the word at a character position. espeak speaks some pairs ("in the") as one word
            and reports only the first. The time of such words is divided in proportion to their letters.
        end: End of the last word in seconds.

    Returns:
        ``(word, begin, end)`` of every word, without gaps.
    """
    groups: list[tuple[list[str], float]] = []
    position = 0
    for word in text.split():
        if position in begins or not groups:
            groups.append(([], begins.get(position, 0.0)))
        groups[-1][0].append(word)
        position += len(word) + 1
    stops = [begin for _, begin in groups[1:]] + [end]
    times: list[tuple[str, float, float]] = []
    for (words, begin), stop in zip(groups, stops, strict=True):
        letters = sum(map(len, words))
        for word in words:
            share = (max(stop, begin) - begin) * len(word) / letters
            times.append((word, begin, begin + share))
            begin += share
            letters -= len(word)
    return times
