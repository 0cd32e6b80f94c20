"""Griffin-Lim inverts spectrograms of any filter bank."""

from dataclasses import replace

import pytest
import torch

from spectron.audio.mel import LogMel, MelConfig
from spectron.vocoders import GriffinLimVocoder

LJ = MelConfig(22050, 11.61, 46.44, 80, 0.0, 8000.0, 1e-5, "slaney", True)


@pytest.mark.parametrize("mel", [MelConfig(), LJ, replace(LJ, area_norm=False), replace(LJ, mel_scale="htk")], ids=str)
def test_waveform_has_given_spectrogram(mel):
    time = torch.arange(mel.sample_rate_hz) / mel.sample_rate_hz
    phase = 2 * torch.pi * (120 * time + 40 * time.square())
    voice = sum(torch.sin(k * phase) / k for k in range(1, 40))
    waveform = 0.05 * voice + 0.01 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    given, num_frames = LogMel(mel)(waveform[None], torch.tensor([len(waveform)]))
    spoken, num_samples = GriffinLimVocoder(mel)(given, num_frames)
    again, _ = LogMel(mel)(spoken, num_samples)
    assert float((again - given)[:, 3:-3].abs().mean()) < 0.25
    assert (
        float((again - given)[:, 3:-3].mean().abs()) < 0.1
    )  # a filter bank of another normalisation would be off by its width
