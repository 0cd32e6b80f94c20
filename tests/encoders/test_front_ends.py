"""Front ends on the device against the library's feature extractors, several lengths in one batch."""

import os
from pathlib import Path

import pytest
import soundfile
import torch
import transformers
from speech_encoders import WHISPER

from spectron.encoders.front_ends import FilterBankFrontEnd, LibraryFrontEnd, WaveformFrontEnd, WindowedFrontEnd
from spectron.encoders.pretrained import PretrainedEncoder
from spectron.errors import ConfigError

RATE = 16000


def synthetic(num_samples):
    """Return speech-like audio: tones over quiet noise, pauses of digital silence, a constant offset."""
    torch.manual_seed(num_samples)
    time = torch.arange(num_samples) / RATE
    tones = sum(torch.sin(2 * torch.pi * hz * time) / hz for hz in (120, 240, 480, 2100)) * 30
    voice = tones * torch.sin(7 * time).clamp(min=0) + 0.001 * torch.randn(num_samples)
    return voice.masked_fill((time % 1.3) < 0.2, 0.0) + 0.01


def recordings():
    """Return real speech, if available, and synthetic audio of several lengths, with noise in the padding."""
    rows = [synthetic(count) for count in (30123, 16000, 7777, 3000, 561)]
    folder = Path(os.environ.get("SPECTRON_DATA", "")) / "librispeech_mini" / "audio"
    for path in sorted(folder.rglob("*.flac"))[:2] if os.environ.get("SPECTRON_DATA") else []:
        rows.append(torch.tensor(soundfile.read(path, dtype="float32")[0][: 6 * RATE]))
    num_samples = torch.tensor([len(row) for row in rows])
    waveform = torch.zeros(len(rows), int(num_samples.max()))
    for place, row in zip(waveform, rows, strict=True):
        place[: len(row)] = row
    return rows, waveform, num_samples


def extracted(extractor, row, **arguments):
    return extractor(row.numpy(), sampling_rate=RATE, return_tensors="pt", **arguments)


@pytest.mark.parametrize("normalised", [True, False])
def test_waveform_front_end_equals_library(normalised):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalised)
    front_end = WaveformFrontEnd(transformers.Wav2Vec2Config(), extractor)
    rows, waveform, num_samples = recordings()
    inputs = front_end(waveform, num_samples)
    assert front_end.min_samples == 400
    for place, row in enumerate(rows):
        expected = extracted(extractor, row)["input_values"][0]
        torch.testing.assert_close(inputs["input_values"][place, : len(row)], expected, atol=1e-4, rtol=1e-4)
        assert not inputs["input_values"][place, len(row) :].any()
        assert int(inputs["attention_mask"][place].sum()) == len(row)


def test_filter_bank_front_end_equals_library():
    extractor = transformers.SeamlessM4TFeatureExtractor()
    front_end = FilterBankFrontEnd(None, extractor)
    rows, waveform, num_samples = recordings()
    inputs = front_end(waveform, num_samples)
    steps = front_end.num_steps(num_samples, None)
    for place, row in enumerate(rows):
        expected = extracted(extractor, row)
        valid = int(expected["attention_mask"].sum())
        assert int(inputs["attention_mask"][place].sum()) == int(steps[place]) == valid
        features = inputs["input_features"][place, :valid]
        torch.testing.assert_close(features, expected["input_features"][0, :valid], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bands", [80, 128])
def test_windowed_front_end_equals_library(bands):
    extractor = transformers.WhisperFeatureExtractor(feature_size=bands, chunk_length=1)
    front_end = WindowedFrontEnd(transformers.WhisperConfig(max_source_positions=50), extractor)
    rows, waveform, num_samples = recordings()
    features = iter(front_end(waveform, num_samples)["input_features"])
    for row in rows:
        for window in row.split(RATE):
            torch.testing.assert_close(
                next(features), extracted(extractor, window)["input_features"][0], atol=1e-4, rtol=1e-4
            )
    assert next(features, None) is None
    assert front_end.num_steps(num_samples, None).tolist() == [-(-len(row) // 320) for row in rows]


def test_windows_are_joined_to_rows():
    front_end = WindowedFrontEnd(
        transformers.WhisperConfig(max_source_positions=50), transformers.WhisperFeatureExtractor(chunk_length=1)
    )
    num_samples = torch.tensor([RATE + 1, 0, 3 * RATE, 5])
    windows = torch.arange(7.0)[:, None, None].expand(7, 50, 2)
    whole = front_end.regroup(windows, num_samples, 3 * RATE)[:, ::50, 0]
    assert whole.tolist() == [[0, 1, 0], [2, 0, 0], [3, 4, 5], [6, 0, 0]]


def test_whisper_encodes_windows_of_30_seconds(tmp_path):
    config = transformers.WhisperConfig(**{**WHISPER, "max_source_positions": 1500, "encoder_layers": 1})
    transformers.WhisperModel(config).save_pretrained(tmp_path)
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    encoder = PretrainedEncoder(str(tmp_path)).eval()
    with torch.no_grad():
        features, num_steps = encoder(0.1 * torch.randn(2, 31 * RATE), torch.tensor([31 * RATE, 5 * RATE]))
    assert num_steps.tolist() == [1550, 250]
    assert features.shape[1] == 1550
    assert encoder.frame_rate_hz == 50


def test_different_windows_are_refused():
    with pytest.raises(ConfigError, match=r"source: .*480000.*16000"):
        WindowedFrontEnd(transformers.WhisperConfig(max_source_positions=50), transformers.WhisperFeatureExtractor())


def test_unknown_extractor_is_run_by_library():
    extractor = transformers.ASTFeatureExtractor(max_length=64)
    row = synthetic(9000)
    inputs = LibraryFrontEnd(extractor, transformers.ASTModel)(row[None], torch.tensor([9000]))
    torch.testing.assert_close(inputs["input_values"], extracted(extractor, row)["input_values"])
