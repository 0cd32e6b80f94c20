"""Contents of audio files of many kinds, and of their usual faults."""

import io
import random
import struct

import numpy as np
import soundfile

RATE_HZ = 16000
FORMATS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("WAV", "FLOAT"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.au": ("AU", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.rf64": ("RF64", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
}


def noise(seconds, loudness=0.1, seed=0):
    """Return white noise (S,) at ``RATE_HZ``."""
    return loudness * np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))


def encoded(samples, format, subtype=None, rate_hz=RATE_HZ, **options):
    """Return the bytes of an audio file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype, **options)
    return file.getvalue()


def streamed_flac(samples):
    """Return a FLAC that was written to a pipe: its header states neither length nor checksum."""
    content = bytearray(encoded(samples, "FLAC", "PCM_16"))
    content[21] &= 0xF0  # the upper four of the 36 bits of the length
    content[22:42] = bytes(20)
    return bytes(content)


def mp3_without_info(samples):
    """Return an MP3 of variable bit rate without the frame that states its length."""
    content = encoded(samples, "MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    kbps = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[(content[2] >> 4) - 1]  # MPEG 2, 16 kHz
    return content[72 * kbps * 1000 // RATE_HZ + (content[2] >> 1 & 1) :]


def mutated(content, rng: random.Random):
    """Return a content with a few damaged bytes, most of them in the header."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(min(len(damaged), 64)) if rng.random() < 0.8 else rng.randrange(len(damaged))
        value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.3:
            number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(1 << 32)))
            damaged[place : place + 4] = struct.pack(rng.choice("<>") + "I", number)
        else:
            damaged[place] = value
    if rng.random() < 0.15:
        del damaged[rng.randrange(len(damaged)) :]
    return bytes(damaged)
