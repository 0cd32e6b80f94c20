"""Spectrograms of vocoder and head: every difference is named, and convertible ones are converted exactly."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torchaudio.functional import amplitude_to_DB
from torchaudio.transforms import MelSpectrogram

from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel, MelConfig
from spectron.errors import ConfigError
from spectron.vocoders.mel_bridge import MelBridge, MelFormat, differences, require_same_mel

RATE = 22050
VOCODER = MelConfig(RATE, 1000 * 256 / RATE, 1000 * 1024 / RATE, 80, 0.0, 8000.0, 1e-5, "slaney", True)
PLAIN = replace(VOCODER, area_norm=False)
RECORDINGS = Path(os.environ.get("SPECTRON_DATA", "")) / "ljspeech_mini"


@pytest.fixture(scope="module", params=["made", "recorded"])
def waveform(request):
    """Return a gliding synthetic voice in noise, or a recorded voice: (S,)."""
    if request.param == "recorded":
        if not RECORDINGS.is_dir():
            pytest.skip("SPECTRON_DATA names no folder with ljspeech_mini")
        first = json.loads((RECORDINGS / "manifest.jsonl").read_text().splitlines()[0])
        return read_audio(RECORDINGS / first["audio_filepath"])[0][:RATE]
    time = torch.arange(RATE) / RATE
    phase = 2 * torch.pi * (120 * time + 40 * time.square())
    voice = sum(torch.sin(k * phase) / k for k in range(1, 40))
    return 0.05 * voice + 0.002 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))


def heads_mel(config: MelConfig, waveform: torch.Tensor) -> torch.Tensor:
    return LogMel(config)(waveform[None], torch.tensor([len(waveform)]))[0][0]


def magnitudes(config: MelConfig, waveform: torch.Tensor, **options) -> torch.Tensor:
    """Compute mel magnitudes (T, M) with torchaudio, before any floor or logarithm."""
    sizes = {
        "n_fft": config.fft_size,
        "win_length": config.window_samples,
        "hop_length": config.hop_samples,
        "n_mels": config.n_mels,
    }
    edges = {"f_min": config.low_hz, "f_max": config.high_hz, "norm": "slaney" if config.area_norm else None}
    spectrogram = MelSpectrogram(
        RATE, power=1.0, mel_scale=config.mel_scale, pad_mode="constant", **sizes, **edges, **options
    )
    return spectrogram(waveform).T[: -(-len(waveform) // config.hop_samples)]


CONVERSIONS = {
    "log10": (VOCODER, VOCODER, MelFormat(log="log10"), lambda w: magnitudes(VOCODER, w).log10()),
    "decibel": (
        VOCODER,
        VOCODER,
        MelFormat(log="decibel"),
        lambda w: amplitude_to_DB(magnitudes(VOCODER, w), 20.0, 1e-10, 0.0),
    ),
    "area norm of the vocoder": (PLAIN, VOCODER, MelFormat(), lambda w: magnitudes(VOCODER, w).log()),
    "area norm of the head": (VOCODER, PLAIN, MelFormat(log="log10"), lambda w: magnitudes(PLAIN, w).log10()),
    "gain": (
        VOCODER,
        VOCODER,
        MelFormat(gain=float(torch.hann_window(1024).square().sum().rsqrt())),
        lambda w: magnitudes(VOCODER, w, normalized=True).log(),
    ),
    "mean and std": (
        PLAIN,
        VOCODER,
        MelFormat(
            log="log10", mean=[0.01 * band - 3 for band in range(80)], std=[0.5 + 0.01 * band for band in range(80)]
        ),
        lambda w: (magnitudes(VOCODER, w).log10() - 0.01 * torch.arange(80) + 3) / (0.5 + 0.01 * torch.arange(80)),
    ),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_bridge_gives_the_other_spectrogram(name, waveform):
    head, trained_on, wanted, direct = CONVERSIONS[name]
    # Floors out of the way: below one of them there is nothing left to convert.
    bridge = MelBridge(replace(head, floor=1e-12), replace(trained_on, floor=1e-12), wanted)
    torch.testing.assert_close(
        bridge(heads_mel(replace(head, floor=1e-12), waveform)), direct(waveform), atol=1e-4, rtol=1e-5
    )


def test_higher_floor_is_exact_and_lower_floor_exact_above_heads(waveform, caplog):
    low, high = replace(VOCODER, floor=1e-5), replace(VOCODER, floor=3e-3)
    assert heads_mel(low, waveform).min() < -6
    torch.testing.assert_close(MelBridge(low, high)(heads_mel(low, waveform)), heads_mel(high, waveform))
    with caplog.at_level("INFO"):
        MelBridge(low, high)
        assert not caplog.records
        raised = MelBridge(high, low)(heads_mel(high, waveform))
    assert "silence will be as loud as that floor" in caplog.text
    above = heads_mel(low, waveform) > torch.tensor(3e-3).log()
    torch.testing.assert_close(raised[above], heads_mel(low, waveform)[above])
    assert not above.all()


def test_late_frame_is_frame_of_speech_half_a_hop_later(waveform):
    """The authors' frames (padding (n_fft - hop) / 2, not centred) of a delayed recording equal the head's frames."""
    late = MelBridge(VOCODER, VOCODER, MelFormat(centred=False)).lag_samples
    assert late == 128
    margin = (1024 - 256) // 2
    padded = torch.nn.functional.pad(torch.nn.functional.pad(waveform, (late, 0)), (margin, margin))
    spectrum = torch.stft(
        padded, 1024, 256, window=torch.hann_window(1024), center=False, return_complex=True
    ).abs()  # (F, T)
    theirs = (spectrum.T @ VOCODER.filter_bank()).clamp(min=1e-5).log()
    ours = heads_mel(VOCODER, waveform)
    torch.testing.assert_close(ours[3:-3], theirs[3 : len(ours) - 3], atol=1e-4, rtol=1e-5)


def test_format_of_transformers_extractor(waveform):
    from transformers import SpeechT5FeatureExtractor

    trained_on = MelConfig(16000, 16.0, 64.0, 80, 80.0, 7600.0, 1e-10, "slaney", True)
    head = replace(trained_on, floor=1e-5, area_norm=False)
    require_same_mel(head, trained_on, "folder", "exact")
    bridged = MelBridge(head, trained_on, MelFormat(log="log10"))(heads_mel(head, waveform))
    theirs = torch.tensor(SpeechT5FeatureExtractor()._extract_mel_features(waveform.numpy()))[: len(bridged)]
    above = heads_mel(head, waveform) > -10
    above[:3], above[-3:] = False, False  # it reflects the ends, the head sees silence there
    torch.testing.assert_close(bridged[above], theirs[above], atol=1e-3, rtol=1e-4)


def test_settings_with_equal_samples_agree():
    require_same_mel(replace(VOCODER, frame_shift_ms=11.61, window_ms=46.44), VOCODER, "folder")


def test_every_difference_is_named_with_yaml_to_copy():
    head = MelConfig()
    with pytest.raises(ConfigError, match=r"^source: 'folder'") as failure:
        require_same_mel(head, VOCODER, "folder")
    message = str(failure.value)
    for key, theirs, ours in (
        ("sample_rate_hz", "22050", "16000"),
        ("frame_shift_ms", "11.6 (256 samples)", "12.5 (200 samples)"),
    ):
        assert f"{key} is {theirs}, the head has {ours}" in message
    assert set(differences(head, VOCODER)) == {
        *("sample_rate_hz", "frame_shift_ms", "window_ms", "n_mels", "low_hz", "mel_scale", "area_norm")
    }
    cure = message.partition("model.head.init_args.mel: ")[2].partition("}")[0] + "}"
    require_same_mel(MelConfig(**yaml.safe_load(cure)), VOCODER, "folder")


@pytest.mark.parametrize(
    "key", ["sample_rate_hz", "frame_shift_ms", "window_ms", "n_mels", "low_hz", "high_hz", "mel_scale"]
)
def test_settings_of_frames_and_bands_are_never_bridged(key):
    other = {
        "sample_rate_hz": 24000,
        "frame_shift_ms": 10.0,
        "window_ms": 40.0,
        "n_mels": 64,
        "low_hz": 40.0,
        "high_hz": 7600.0,
    }
    head = replace(VOCODER, **{key: other.get(key, "htk")}, area_norm=False)
    with pytest.raises(ConfigError, match=f"{key} is") as failure:
        require_same_mel(head, VOCODER, "folder", "exact")
    assert "area_norm is" not in str(failure.value)


@pytest.mark.parametrize("change", [{"floor": 1e-7}, {"area_norm": False}])
def test_convertible_difference_is_refused_without_bridge(change):
    head = replace(VOCODER, **change)
    with pytest.raises(ConfigError, match="or set `bridge: exact`"):
        require_same_mel(head, VOCODER, "folder")
    require_same_mel(head, VOCODER, "folder", "exact")
