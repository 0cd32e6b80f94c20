"""Resampling, filter banks and Griffin-Lim give torchaudio's numbers, which the published weights were trained with."""

import pytest
import torch

from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.resampling import resample
from spectron.vocoders import GriffinLimVocoder

functional = pytest.importorskip("torchaudio.functional")
SETTINGS = [MelConfig(), MelConfig(mel_scale="slaney", area_norm=True, n_mels=80), MelConfig(22050, 11.6, 46.4, 80)]


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22050, 16000), (16000, 22050), (48000, 16000), (8000, 16000)])
def test_resampling_equals_torchaudio(from_hz, to_hz):
    noise = torch.randn(2, 3, 8001, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        resample(noise, from_hz, to_hz), functional.resample(noise, from_hz, to_hz), rtol=0, atol=1e-4
    )
    assert resample(noise[0, 0], from_hz, to_hz).shape == (-(-8001 * to_hz // from_hz),)


@pytest.mark.parametrize("config", SETTINGS)
def test_filter_bank_equals_torchaudio(config):
    norm = "slaney" if config.area_norm else None
    sizes = (config.fft_size // 2 + 1, config.low_hz, config.high_hz, config.n_mels, config.sample_rate_hz)
    expected = functional.melscale_fbanks(*sizes, norm, config.mel_scale)
    torch.testing.assert_close(config.filter_bank(), expected, rtol=1e-6, atol=1e-7)


def test_spectrogram_equals_torchaudio():
    from torchaudio.transforms import MelSpectrogram

    config = MelConfig(n_mels=80)
    theirs = MelSpectrogram(
        16000,
        config.fft_size,
        config.window_samples,
        config.hop_samples,
        20.0,
        8000.0,
        n_mels=80,
        power=1.0,
        pad_mode="constant",
    )
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    ours, _ = LogMel(config)(noise, torch.tensor([16000]))
    expected = theirs(noise).transpose(1, 2)[:, : ours.shape[1]].clamp(min=config.floor).log()
    torch.testing.assert_close(ours, expected)
    assert [*LogMel(config).spectrogram.state_dict()] == [*theirs.state_dict()], "published weights hold these buffers"


def test_griffin_lim_equals_torchaudio():
    vocoder = GriffinLimVocoder(MelConfig(), iterations=8)
    magnitude = torch.rand(vocoder.format.fft_size // 2 + 1, 40, generator=torch.Generator().manual_seed(0))
    hop, length = vocoder.format.hop_samples, 39 * vocoder.format.hop_samples
    sizes = (vocoder.format.fft_size, hop, vocoder.format.window_samples, 1.0, 8, 0.9, length, False)
    expected = functional.griffinlim(magnitude, vocoder.window, *sizes)
    torch.testing.assert_close(vocoder._with_phase(magnitude, length), expected, rtol=1e-4, atol=1e-4)
