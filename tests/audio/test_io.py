"""Reading, writing and resampling audio."""

import math

import numpy as np
import pytest
import soundfile
import torch

from spectron.audio.io import read_audio, write_wav
from spectron.audio.resampling import resample
from spectron.errors import DataError


def test_read_audio_averages_stereo(tmp_path):
    left, right = np.linspace(-0.5, 0.5, 100), np.full(100, 0.25)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    waveform, rate = read_audio(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(waveform.numpy(), (left + right) / 2, atol=1e-6)
    stretch, _ = read_audio(tmp_path / "a.wav", start=10, num_samples=5)
    assert torch.equal(stretch, waveform[10:15])


def test_write_wav_read_audio_round_trip(tmp_path):
    waveform = torch.tensor([0.0, 0.5, -0.5, 1.5, -1.5])
    write_wav(tmp_path / "new" / "a.wav", waveform, 16000)
    back, rate = read_audio(tmp_path / "new" / "a.wav")
    assert rate == 16000
    assert torch.allclose(back, waveform.clamp(-1, 1), atol=2 / 32768)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no audio file at"),
        (b"", "is an empty file: copy it again"),
        (b"RIFF, but then nothing of the kind", "cannot read"),
    ],
)
def test_read_audio_refuses_bad_file(tmp_path, content, message):
    file = tmp_path / "a.wav"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_audio(file)
    assert str(file) in str(error.value)


def test_read_audio_refuses_empty_short_and_nan(tmp_path):
    for name, samples, wanted, message in (
        ("empty", [], -1, "contains no samples: it is empty or truncated"),
        ("short", [0.1, 0.2], 3, "contains 2 instead of 3 samples"),
        ("nan", [0.1, math.nan], -1, "not finite"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", np.array(samples), 16000, subtype="FLOAT")
        with pytest.raises(DataError, match=message):
            read_audio(tmp_path / f"{name}.wav", num_samples=wanted)


def test_read_audio_refuses_truncated_file(tmp_path):
    """A truncated WAV is no error for libsndfile; the header of a streamed WAV states no length."""
    whole, cut = tmp_path / "whole.wav", tmp_path / "cut.wav"
    write_wav(whole, 0.1 * torch.sin(torch.arange(32000) * 0.1), 16000)
    content = whole.read_bytes()
    cut.write_bytes(content[: 44 + 32000])
    with pytest.raises(DataError, match=r"cut\.wav is truncated: its header states 2\.00 s, but it contains 1\.00 s"):
        read_audio(cut)
    assert len(read_audio(cut, start=100, num_samples=15000)[0]) == 15000, "a stretch that is there"
    place = content.index(b"data") + 4
    cut.write_bytes(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])
    assert len(read_audio(cut)[0]) == 32000


def test_write_wav_refuses_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/a\.wav"):
        write_wav(tmp_path / "file" / "a.wav", torch.zeros(3), 16000)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22050, 16000), (16000, 24000), (8000, 16000)])
def test_resample_keeps_pitch_and_phase(from_hz, to_hz):
    def tone(rate):
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate) / rate)

    resampled = resample(tone(from_hz), from_hz, to_hz)
    assert len(resampled) == to_hz
    middle = slice(to_hz // 10, -to_hz // 10)
    assert (resampled[middle] - tone(to_hz)[middle]).abs().max() < 2e-3


def test_resample_equal_rates_unchanged():
    waveform = torch.randn(7)
    assert resample(waveform, 16000, 16000) is waveform
    assert len(resample(torch.zeros(0), 8000, 16000)) == 0
