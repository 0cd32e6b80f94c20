"""Spectron's own encoders: SpecAugment, normalisation, lengths; and the error for a wrong encoder."""

import pytest
import torch

from spectron.audio.mel import LogMel, MelConfig
from spectron.conformance import malformed
from spectron.encoders import ConformerEncoder, ConformerSettings, FrameStackEncoder, SpecAugmentSettings
from spectron.encoders.conformer import normalise
from spectron.encoders.spec_augment import SpecAugment
from spectron.errors import ConfigError


def test_spec_augment_masks_within_limits_in_training():
    torch.manual_seed(0)
    augment = SpecAugment(SpecAugmentSettings(frequency_blocks=2, frequency_width=5, time_blocks=3, time_share=0.1))
    mel, num_frames = torch.ones(200, 100, 40), torch.full((200,), 100)
    hidden = augment(mel, num_frames) == 0
    frames, bands = hidden.all(dim=2).sum(1), hidden.all(dim=1).sum(1)
    assert int(frames.max()) <= 30
    assert int(bands.max()) <= 10
    assert 10 < float(frames.float().mean()) < 20  # three blocks of 0..10 frames, less overlap
    assert 3.5 < float(bands.float().mean()) < 5.5
    assert torch.equal(augment.eval()(mel, num_frames), mel)


def test_spec_augment_blocks_stay_within_row():
    torch.manual_seed(0)
    augment = SpecAugment(SpecAugmentSettings(frequency_blocks=0, time_blocks=4, time_share=0.5))
    hidden = augment(torch.ones(300, 60, 4), torch.full((300,), 20)) == 0
    assert hidden[:, :20].any()
    assert not hidden[:, 20:].any()


def test_time_share_above_1_is_refused():
    with pytest.raises(ConfigError, match=r"got 1\.5"):
        SpecAugmentSettings(time_share=1.5)


def test_normalise_gives_mean_0_and_std_1():
    torch.manual_seed(0)
    mel = torch.randn(2, 50, 8) * 3 - 7
    out = normalise(mel, torch.tensor([50, 30]))
    torch.testing.assert_close(out[1, :30].mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    assert float(out[1, :30].square().mean().sqrt()) == pytest.approx(1.0, abs=1e-3)
    assert (out[1, 30:] == 0).all()


@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 640, 641])
def test_conformer_steps_of_short_audio(num_samples):
    encoder = ConformerEncoder(ConformerSettings(width=16, layers=1, heads=2, feedforward=32, kernel=3)).eval()
    features, num_steps = encoder(torch.zeros(1, num_samples), torch.tensor([num_samples]))
    frames = (num_samples - 1) // 160 + 1
    assert int(num_steps[0]) == features.shape[1] == (frames + 3) // 4
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(
    ("settings", "message"), [({"width": 30, "heads": 4}, "multiple of heads"), ({"kernel": 4}, "kernel: must be odd")]
)
def test_impossible_conformer_size_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ConformerSettings(**settings)


def test_log_mel_equals_librosa():
    import librosa

    config = MelConfig(n_mels=40)
    torch.manual_seed(0)
    wave = torch.randn(1, 8000) * 0.1
    mel, num_frames = LogMel(config)(wave, torch.tensor([8000]))
    settings = {
        "sr": 16000,
        "n_fft": 1024,
        "hop_length": 200,
        "win_length": 800,
        "n_mels": 40,
        "fmin": 20,
        "fmax": 8000,
        "htk": True,
    }
    power = librosa.feature.melspectrogram(y=wave[0].numpy(), power=1.0, norm=None, pad_mode="constant", **settings)
    expected = torch.tensor(power).clamp(min=config.floor).log().T[: int(num_frames[0])]
    assert int(num_frames[0]) == 40
    torch.testing.assert_close(mel[0], expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("key", "value"),
    [("high_hz", 9000.0), ("low_hz", -1.0), ("n_mels", 0), ("frame_shift_ms", 0.01), ("window_ms", 0.01)],
)
def test_impossible_mel_settings_are_refused(key, value):
    with pytest.raises(ConfigError) as raised:
        MelConfig(**{key: value})
    assert raised.value.key == key


def test_wrong_width_is_malformed():
    encoder = FrameStackEncoder(8)
    encoder.output_dim = 9
    assert malformed(encoder) == "output_dim is 9, but its features are 8 wide. Remove output_dim"
