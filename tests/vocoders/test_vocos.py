"""Vocos against torch's inverse STFT and a slow loop; its two folder formats; refused folders."""

import json
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from spectron.audio.mel import LogMel, MelConfig, padding_mask
from spectron.errors import CheckpointError, ConfigError
from spectron.vocoders import GriffinLimVocoder, VocosSettings, VocosVocoder
from spectron.vocoders.vocos_network import Backbone, Draft, Frames, InverseSTFTHead

MEL = MelConfig(n_mels=12, frame_shift_ms=2.0, window_ms=8.0)  # hop 32, window 128
PADDED = MelConfig(n_mels=12, frame_shift_ms=1.25, window_ms=6.25)  # hop 20, window 100 in frames of 128
SMALL = VocosSettings(width=16, layers=2, feedforward=24)


def small(mel: MelConfig = MEL, **settings) -> VocosVocoder:
    torch.manual_seed(0)
    vocoder = VocosVocoder(mel, vocos=replace(SMALL, **settings)).eval()
    with torch.no_grad():  # an untrained last layer is all but constant
        vocoder.head.out.weight.normal_(std=0.3)
    return vocoder


@pytest.mark.parametrize("frames", [1, 2, 9, 30])
def test_overlap_add_equals_torch_inverse_stft(frames):
    torch.manual_seed(0)
    head = InverseSTFTHead(MEL, replace(SMALL, width=8))
    features = torch.randn(2, frames, 8)
    waveform = head(features, None, torch.zeros(2, frames, dtype=torch.bool))
    magnitude, phase = head.out(features).chunk(2, dim=-1)
    spectrum = torch.polar(magnitude.exp().clamp(max=100.0), phase).transpose(1, 2)
    expected = torch.istft(spectrum, 128, 32, window=torch.hann_window(128), center=True, length=frames * 32)
    torch.testing.assert_close(waveform, expected, atol=1e-5, rtol=1e-4)


def test_frames_equal_torch_stft():
    """Also for a frame longer than its window: then the spectra differ by a phase that the window's offset gives."""
    frames = Frames(PADDED)
    waveform = torch.randn(2, 40 * 20)
    spectra = frames.split(waveform)
    window = torch.hann_window(100)
    expected = torch.stft(waveform, 128, 20, 100, window, pad_mode="constant", return_complex=True).transpose(1, 2)[
        :, :40
    ]
    turn = torch.polar(
        torch.ones(65), -2 * torch.pi * torch.arange(65) * 14 / 128
    )  # torch centres the window: 14 zeros before it
    torch.testing.assert_close(spectra * turn, expected, atol=1e-4, rtol=1e-4)
    again = frames.join(spectra, torch.zeros(2, 40, dtype=torch.bool))
    torch.testing.assert_close(again, waveform, atol=1e-4, rtol=1e-4)


def test_draft_is_griffin_lim():
    """The iterations equal torchaudio's from the same start, where its mirrored ends have no influence yet."""
    draft = Draft(MEL, replace(SMALL, draft_rounds=3))
    time = torch.arange(1920) / 16000
    waveform = (torch.sin(2 * torch.pi * (500 + 20000 * time) * time) + 0.1 * torch.randn(1920))[None]
    mel, num_frames = LogMel(MEL)(waveform, torch.tensor([1920]))
    no_padding = torch.zeros(1, 60, dtype=torch.bool)
    found = draft.frames.join(draft.spectra(mel, no_padding), no_padding)
    expected, _ = GriffinLimVocoder(MEL, iterations=3)(mel, num_frames)
    torch.testing.assert_close(found[:, 600:1200], expected[:, 600:1200], atol=1e-3, rtol=1e-3)


def test_untrained_network_keeps_draft():
    vocoder = VocosVocoder(PADDED, vocos=replace(SMALL, draft_rounds=4)).eval()
    mel, padding = torch.randn(1, 30, 12), torch.zeros(1, 30, dtype=torch.bool)
    expected = vocoder.draft.frames.join(vocoder.draft.spectra(mel, padding), padding)
    torch.testing.assert_close(vocoder(mel, torch.tensor([30]))[0], expected)


def test_draft_features_of_constant_tone():
    """In the band of a tone, the phase advances from frame to frame with the frequency of the band."""
    draft = Draft(MEL, replace(SMALL, draft_rounds=1))
    draft.see = torch.nn.Identity()
    tone = torch.sin(2 * torch.pi * 16 * torch.arange(640) / 128)[None]  # band 16 of 65, exactly
    seen = draft(draft.frames.split(tone))[0].unflatten(-1, (5, 65))  # (T, 5, F)
    torch.testing.assert_close(seen[5:15, 1:3, 16], torch.tensor([1.0, 0.0]).expand(10, 2), atol=1e-3, rtol=0)
    assert float(seen[5:15, 0, 16].min()) > 3  # the window sums to 64: half of that in the band


def test_backbone_against_its_equations():
    """Compare with loops over places instead of convolutions."""
    torch.manual_seed(1)
    backbone = Backbone(12, SMALL)
    mel = torch.randn(1, 12, 11)
    with torch.no_grad():
        for block in backbone.convnext:
            block.gamma.uniform_(0.5, 1.5)

        def convolved(x, layer):
            padded = nn.functional.pad(x, (3, 3))
            groups, places = layer.groups, range(x.shape[2])
            windows = torch.stack([padded[:, :, t : t + 7] for t in places], dim=2)  # (B, C, T, 7)
            summed = torch.einsum("bctk,ck->bct", windows, layer.weight[:, 0]) if groups > 1 else None
            summed = torch.einsum("bctk,dck->bdt", windows, layer.weight) if summed is None else summed
            return summed + layer.bias[:, None]

        def normed(x, layer):
            x = x.transpose(1, 2)
            x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
            return x * layer.weight + layer.bias

        x = normed(convolved(mel, backbone.embed), backbone.norm).transpose(1, 2)
        for block in backbone.convnext:
            y = nn.functional.gelu(
                normed(convolved(x, block.dwconv), block.norm) @ block.pwconv1.weight.T + block.pwconv1.bias
            )
            x = x + (block.gamma * (y @ block.pwconv2.weight.T + block.pwconv2.bias)).transpose(1, 2)
        expected = normed(x, backbone.final_layer_norm)
        torch.testing.assert_close(
            backbone(mel, torch.zeros(1, 1, 11, dtype=torch.bool)), expected, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("draft_rounds", [0, 3])
@pytest.mark.parametrize("lengths", [[20, 7, 1], [5, 5], [3, 0, 12]])
def test_rows_do_not_change_each_other(lengths, draft_rounds):
    vocoder = small(draft_rounds=draft_rounds)
    torch.manual_seed(2)
    mel, num_frames = torch.randn(len(lengths), max(lengths), 12), torch.tensor(lengths)
    mel[padding_mask(num_frames, mel.shape[1])] = torch.nan
    audio, num_samples = vocoder(mel, num_frames)
    assert num_samples.tolist() == [32 * frames for frames in lengths]
    assert torch.isfinite(audio).all()
    for row, frames in enumerate(lengths):
        alone, _ = vocoder(mel[row : row + 1, :frames], num_frames[row : row + 1])
        torch.testing.assert_close(audio[row, : 32 * frames], alone[0], atol=1e-5, rtol=1e-4)
        assert not audio[row, 32 * frames :].any()


@pytest.mark.parametrize(("half", "draft_rounds"), [(False, 0), (False, 2), (True, 0)])
def test_saved_vocos_loads_again(tmp_path, half, draft_rounds):
    vocoder = small(draft_rounds=draft_rounds)
    assert vocoder.save(tmp_path / "vocos", half) == {}
    again = VocosVocoder(MEL, source=str(tmp_path / "vocos")).eval()
    mel, num_frames = torch.randn(1, 9, 12), torch.tensor([9])
    tolerance = 1e-2 if half else 0.0
    torch.testing.assert_close(again(mel, num_frames)[0], vocoder(mel, num_frames)[0], atol=tolerance, rtol=tolerance)


def test_other_spectrogram_is_refused_or_bridged(tmp_path):
    small().save(tmp_path / "vocos")
    with pytest.raises(
        ConfigError, match=r"^source: .*frame_shift_ms is 2\.0 \(32 samples\), the head has 4\.0 \(64 samples\)"
    ):
        VocosVocoder(replace(MEL, frame_shift_ms=4.0), source=str(tmp_path / "vocos"))
    with pytest.raises(ConfigError, match="bridge: exact"):
        VocosVocoder(replace(MEL, area_norm=True), source=str(tmp_path / "vocos"))
    bridged = VocosVocoder(replace(MEL, area_norm=True), source=str(tmp_path / "vocos"), bridge="exact").eval()
    waveform, length = 0.1 * torch.randn(1, 640), torch.tensor([640])
    own, num_frames = LogMel(MEL)(waveform, length)
    normed, _ = LogMel(bridged.format)(waveform, length)
    torch.testing.assert_close(bridged(normed, num_frames)[0], small()(own, num_frames)[0], atol=1e-4, rtol=1e-3)
    assert bridged.save(tmp_path / "again") == {"bridge": "exact"}


def write_published(folder, vocoder: VocosVocoder, rate: int = 16000, padding: str = "center"):
    """Write a folder in the authors' format, except for weights in safetensors."""
    folder.mkdir()
    sizes = {"n_fft": 128, "hop_length": 32}
    config = {
        "feature_extractor": {
            "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
            "init_args": {"sample_rate": rate, "n_mels": 12, "padding": padding, **sizes},
        },
        "backbone": {
            "class_path": "vocos.models.VocosBackbone",
            "init_args": {"input_channels": 12, "dim": 16, "intermediate_dim": 24, "num_layers": 2},
        },
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": {"dim": 16, "padding": padding, **sizes}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    constants = {
        "feature_extractor.mel_spec.spectrogram.window": torch.hann_window(128),
        "feature_extractor.mel_spec.mel_scale.fb": torch.rand(65, 12),
        "head.istft.window": torch.hann_window(128),
    }
    save_file({**vocoder.state_dict(), **constants}, folder / "model.safetensors")


def test_published_format_loads(tmp_path):
    mel = MelConfig(16000, 2.0, 8.0, 12, 0.0, 8000.0, 1e-7)
    vocoder = small(mel)
    write_published(tmp_path / "published", vocoder)
    again = VocosVocoder(mel, source=str(tmp_path / "published")).eval()
    spectrogram, num_frames = torch.randn(1, 9, 12), torch.tensor([9])
    torch.testing.assert_close(again(spectrogram, num_frames)[0], vocoder(spectrogram, num_frames)[0])
    write_published(tmp_path / "same", vocoder, padding="same")
    with pytest.raises(ConfigError, match=r"padding: same"):
        VocosVocoder(mel, source=str(tmp_path / "same"))


def test_unreadable_source_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^source: there is no folder"):
        VocosVocoder(MEL, source=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"^source: .*contains neither vocos\.json"):
        VocosVocoder(MEL, source=str(tmp_path / "empty"))
    small().save(tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"^source: .*no \*\.safetensors"):
        VocosVocoder(MEL, source=str(tmp_path / "bare"))
    small().save(tmp_path / "other")
    other = {"mel": asdict(MEL), "vocos": asdict(replace(SMALL, layers=3))}
    (tmp_path / "other" / "vocos.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match=r"^source: .*convnext\.2"):
        VocosVocoder(MEL, source=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match="must be odd") as raised:
        VocosSettings(kernel=4)
    assert raised.value.key == "kernel"


def test_exported_model_is_a_source(tmp_path):
    small().save(tmp_path / "export" / "vocoder")
    (tmp_path / "export" / "config.yaml").write_text("task: spectron.training.VocoderModule\n")
    assert VocosVocoder(MEL, source=str(tmp_path / "export")).settings.vocos == SMALL
