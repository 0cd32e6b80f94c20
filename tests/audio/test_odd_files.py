"""Audio files that are readable and wrong: unknown lengths, damaged headers, joined files, opposite channels."""

import logging
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from audio_files import FORMATS, RATE_HZ, encoded, mp3_without_info, mutated, noise, streamed_flac

from spectron.audio.io import examine_audio, read_audio, read_header
from spectron.audio.resampling import resample
from spectron.errors import DataError, SpectronError

READERS = (read_header, examine_audio, read_audio)


@pytest.fixture
def audio(tmp_path):
    """Return a function that writes a content into a file."""

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", FORMATS)
def test_header_length_is_length_of_samples(audio, name):
    file = audio(name, encoded(noise(2.1), *FORMATS[name]))
    header = examine_audio(file)
    waveform, rate = read_audio(file)
    assert abs(header.seconds - 2.1) < 0.1
    assert abs(header.frames - len(waveform)) < 0.1 * rate
    assert header.rate == rate
    assert header.is_float == (name == "b.wav")


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_file_is_refused_by_name(audio, name):
    """A file that was cut is never read as a shorter one; NIST Sphere is the exception, as libsndfile does not tell."""
    content = encoded(noise(2.1), *FORMATS[name])
    file = audio(name, content[: len(content) // 2])
    if name == "a.sph":
        assert len(read_audio(file)[0]) < 1.1 * RATE_HZ
        return
    for read in (examine_audio, read_audio):
        with pytest.raises(DataError) as error:
            read(file)
        assert error.value.file == file


@pytest.mark.parametrize("start", [0, 5000])
def test_flac_without_length_is_counted(audio, start):
    samples = noise(1.5)
    file = audio("a.flac", streamed_flac(samples))
    assert read_header(file)[:2] == (24000, RATE_HZ)
    np.testing.assert_allclose(read_audio(file)[0], samples, atol=1e-4)
    np.testing.assert_allclose(read_audio(file, start, 1000)[0], samples[start : start + 1000], atol=1e-4)
    with pytest.raises(DataError):
        read_audio(file, 23500, 1000)


@pytest.mark.parametrize("first", ["quiet", "loud"])
def test_mp3_without_info_frame_is_measured(audio, first):
    """The size of the first frame is no measure: libsndfile takes 2.1 s for 6.5 s, or reads 0.5 s of them."""
    sound, silence = noise(1.6, 0.5), np.zeros(8000)
    file = audio("a.mp3", mp3_without_info(np.concatenate([silence, sound] if first == "quiet" else [sound, silence])))
    assert abs(read_header(file).seconds - 2.1) < 0.1
    waveform, _ = read_audio(file)
    assert abs(len(waveform) - 2.1 * RATE_HZ) < 0.1 * RATE_HZ
    halves = waveform[:8000].square().mean(), waveform[-8000:].square().mean()
    assert (halves[0] < halves[1]) == (first == "quiet")


def test_joined_mp3_files_are_named(audio, caplog):
    one, other = encoded(noise(1.0), "MP3"), encoded(noise(2.0), "MP3")
    whole, joined = audio("whole.mp3", one), audio("joined.mp3", one + other)
    tagged = audio("tagged.mp3", one + b"APETAGEX" + bytes(2000) + b"TAG" + bytes(125))
    with caplog.at_level(logging.WARNING):
        for file in (whole, tagged, joined):
            for read in READERS:
                read(file)
    assert [str(joined) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_that_cancel_out_give_first_channel(audio, caplog, channels):
    one = noise(1.0)
    file = audio("a.wav", encoded(np.stack([one, -one] * (channels // 2), 1), "WAV"))
    with caplog.at_level(logging.WARNING):
        waveform, _ = read_audio(file)
        stretch, _ = read_audio(file, 100, 50)
    np.testing.assert_allclose(waveform, one, atol=1e-4)
    assert torch.equal(stretch, waveform[100:150])
    assert [str(file) in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("channels", ["independent", "one silent", "equal", "eight"])
def test_channels_that_do_not_cancel_out_are_averaged(audio, caplog, channels):
    one, other = noise(1.0), noise(1.0, seed=1)
    stacked = {
        "independent": [one, other],
        "one silent": [one, 0 * one],
        "equal": [one, one],
        "eight": [noise(1.0, seed=seed) for seed in range(8)],
    }[channels]
    waveform, _ = read_audio(audio("a.wav", encoded(np.stack(stacked, 1), "WAV")))
    np.testing.assert_allclose(waveform, np.mean(stacked, 0), atol=1e-4)
    assert not caplog.records


@pytest.mark.parametrize("scale", [32768, 8388608, 1e30])
def test_float_file_at_integer_scale_is_refused(audio, scale):
    file = audio("a.wav", encoded(scale * noise(1.0), "WAV", "FLOAT"))
    for read in (examine_audio, read_audio):
        with pytest.raises(DataError) as error:
            read(file)
        assert error.value.file == file


def test_float_file_a_little_beyond_full_scale_is_read(audio):
    waveform, _ = read_audio(audio("a.wav", encoded(noise(1.0, 1.0), "WAV", "FLOAT")))
    assert waveform.abs().max() > 3


@pytest.mark.parametrize("name", ["a.flac", "a.au", "a.aiff", "a.w64"])
def test_gigantic_length_in_header_takes_no_memory(audio, name):
    content = bytearray(encoded(noise(1.0), *FORMATS[name]))
    place, size = {"a.flac": (21, 5), "a.au": (8, 4), "a.aiff": (22, 4), "a.w64": (64, 8)}[name]
    content[place : place + size] = b"\x7f" + b"\xff" * (size - 1)
    file = audio(name, bytes(content))
    for read in READERS:
        with suppress(DataError):
            read(file)


def test_rate_without_common_divisor_is_refused():
    with pytest.raises(DataError):
        resample(torch.zeros(100), 15991, 16000)


@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "."])
def test_impossible_path_is_refused(tmp_path, path):
    for read in READERS:
        with pytest.raises(DataError):
            read(tmp_path / path)


def read_mutated(folder, seed, count):
    """Read damaged files; return how many were refused. Anything but sound or a named file is an error."""
    rng = random.Random(seed)
    contents = {name: encoded(noise(0.4), *kind) for name, kind in FORMATS.items()}
    contents |= {"s.flac": streamed_flac(noise(0.4)), "i.mp3": mp3_without_info(noise(0.4))}
    contents["stereo.wav"] = encoded(np.stack([noise(0.4), noise(0.4, seed=1)], 1), "WAV")
    refused = []
    for _ in range(count):
        file = folder / rng.choice(sorted(contents))
        file.write_bytes(mutated(contents[file.name], rng))
        try:
            header = examine_audio(file)
            waveform, rate = read_audio(file)
            resample(waveform, rate, 24000)
        except SpectronError as error:
            refused.append(error.file)
        else:
            assert waveform.isfinite().all()
            assert (len(waveform) > 0, header.rate) == (True, rate)
        assert set(refused) <= {None, *folder.iterdir()}
    return len(refused)


def test_mutated_files_are_read_or_refused(tmp_path):
    assert 40 < read_mutated(tmp_path, seed=20, count=400) < 360
