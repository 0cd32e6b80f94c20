"""Encoder of an unknown family whose extractor pads to windows of one length."""

import pytest
import torch
from transformers import Qwen2AudioEncoder, Qwen2AudioEncoderConfig, WhisperFeatureExtractor

from spectron.encoders import PretrainedEncoder

RATE, WINDOW = 16000, 2 * 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("qwen2_audio")
    sizes = {
        "num_mel_bins": 80,
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
    }
    Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**sizes, max_source_positions=100)).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    return folder


def test_fixed_windows_give_steps_of_recording_only(folder):
    encoder = PretrainedEncoder(str(folder)).eval()
    torch.manual_seed(1)
    waveform, num_samples = 0.1 * torch.randn(3, 2 * WINDOW), torch.tensor([2 * WINDOW, WINDOW + RATE, RATE // 2])
    with torch.no_grad():
        features, num_steps = encoder(waveform, num_samples)
        library = Qwen2AudioEncoder.from_pretrained(folder).eval()
        extractor = WhisperFeatureExtractor.from_pretrained(folder)
        whole = [
            library(extractor(part.numpy(), sampling_rate=RATE, return_tensors="pt").input_features).last_hidden_state[
                0
            ]
            for part in (waveform[1, :WINDOW], waveform[1, WINDOW : WINDOW + RATE])
        ]
    assert encoder.frame_rate_hz == 25
    assert num_steps.tolist() == [100, 75, 13]
    torch.testing.assert_close(features[1, :50], whole[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features[1, 50:75], whole[1][:25], atol=1e-4, rtol=1e-4)
