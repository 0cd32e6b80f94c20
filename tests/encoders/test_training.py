"""Pre-trained encoders in training: gradients, checkpointing, precision, masking, frozen parts."""

import copy

import pytest
import torch
from speech_encoders import LAYERS

from spectron.encoders import PretrainedEncoder

RATE = 16000


def batch(seed=0):
    torch.manual_seed(seed)
    return 0.2 * torch.randn(3, 9000), torch.tensor([9000, 5000, 200])


def gradients(encoder):
    """Return gradients of the summed features of two batches, both encoded before the backward pass."""
    encoder.zero_grad()
    outputs = [encoder(*batch(0))[0], encoder(batch(1)[0][:2, :7000], torch.tensor([3000, 7000]))[0]]
    sum(output.square().mean() for output in outputs).backward()
    return {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def without_dropout(encoder):
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return encoder


@pytest.mark.parametrize("family", ["wav2vec2", "data2vec", "w2v_bert", "whisper", "wavlm_large", "sew"])
def test_checkpointing_keeps_gradients(tiny_encoder, family):
    kept = without_dropout(PretrainedEncoder(str(tiny_encoder(family)), layer="weighted"))
    again = without_dropout(PretrainedEncoder(str(tiny_encoder(family)), layer="weighted", gradient_checkpointing=True))
    assert again.training
    assert again.model.is_gradient_checkpointing
    expected, found = gradients(kept), gradients(again)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("layer", ["last", "weighted", 0, 1])
@pytest.mark.parametrize("family", ["wav2vec2", "wavlm_large", "whisper", "w2v_bert", "conformer", "speech_to_text"])
def test_unused_parameters_are_frozen(tiny_encoder, family, layer):
    encoder = PretrainedEncoder(str(tiny_encoder(family)), layer=layer)
    found = gradients(encoder)
    assert all(gradient is not None for gradient in found.values())
    assert len(found) > 3
    trains_blocks = any(".layers.0." in name for name in found)
    assert trains_blocks == (layer != 0)
    if family == "wav2vec2" and layer == 1:
        assert not any(".layers.1." in name for name, _ in encoder.named_parameters())


def test_weighted_layers_by_hand(tiny_encoder):
    encoder = PretrainedEncoder(str(tiny_encoder("hubert")), layer="weighted").eval()
    assert encoder.layer_weights.tolist() == [0.0] * (LAYERS + 1)
    with torch.no_grad():
        encoder.layer_weights.copy_(torch.tensor([0.0, 1.0, -1.0, 2.0]))
        features, _ = encoder(*batch())
        shares = torch.tensor([1.0, 2.71828, 0.36788, 7.38906]) / 11.47522
        layers = [
            PretrainedEncoder(str(tiny_encoder("hubert")), layer=layer).eval()(*batch())[0]
            for layer in range(LAYERS + 1)
        ]
    torch.testing.assert_close(
        features, sum(share * layer for share, layer in zip(shares, layers, strict=True)), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("family", ["wav2vec2", "whisper", "w2v_bert", "sew", "data2vec", "speech_to_text"])
def test_16_bit_weights_give_float32_features(tiny_encoder, family):
    whole = PretrainedEncoder(str(tiny_encoder(family)), layer="weighted").eval()
    half = PretrainedEncoder(str(tiny_encoder(family)), layer="weighted", dtype="bfloat16").eval()
    assert half.model.dtype == torch.bfloat16
    with torch.no_grad():
        expected, features = whole(*batch())[0], half(*batch())[0]
    assert features.dtype == torch.float32
    assert 0 < float((features - expected).square().mean() / expected.square().mean()) < 5e-3


@pytest.mark.parametrize("family", ["wav2vec2", "hubert_large", "data2vec", "w2v_bert", "sew"])
def test_masking_acts_in_training_only(tiny_encoder, family):
    plain = without_dropout(PretrainedEncoder(str(tiny_encoder(family))))
    masked = without_dropout(PretrainedEncoder(str(tiny_encoder(family)), spec_augment=True))
    assert masked.model.masked_spec_embed.requires_grad
    assert not plain.model.masked_spec_embed.requires_grad
    torch.testing.assert_close(masked.eval()(*batch())[0], plain.eval()(*batch())[0])
    torch.testing.assert_close(plain.train()(*batch())[0], plain.eval()(*batch())[0])
    masked.train()
    assert not torch.allclose(masked(*batch())[0][0], plain(*batch())[0][0], atol=1e-3)
    masked(0.1 * torch.randn(2, 1000), torch.tensor([1000, 400]))  # shorter than what the library would hide


def test_batch_norm_statistics_stay(tiny_encoder):
    encoder = PretrainedEncoder(str(tiny_encoder("conformer"))).train()
    before = copy.deepcopy({name: value for name, value in encoder.named_buffers() if "running" in name})
    assert before
    features, num_steps = without_dropout(encoder)(*batch())
    alone, _ = encoder(batch()[0][1:2, :5000], torch.tensor([5000]))
    torch.testing.assert_close(features[1, : num_steps[1]], alone[0], atol=1e-5, rtol=1e-4)
    for name, value in encoder.named_buffers():
        if name in before:
            torch.testing.assert_close(value, before[name])


def test_no_layer_is_dropped_at_random(tiny_encoder):
    encoder = without_dropout(PretrainedEncoder(str(tiny_encoder("wav2vec2")))).train()
    first = encoder(*batch())[0]
    assert all(torch.equal(encoder(*batch())[0], first) for _ in range(10))


@pytest.mark.parametrize("family", ["wav2vec2", "w2v_bert", "whisper", "sew", "spectrogram_transformer"])
def test_rows_without_samples_have_no_steps(tiny_encoder, family):
    encoder = PretrainedEncoder(str(tiny_encoder(family))).eval()
    waveform, num_samples = torch.zeros(4, 8000), torch.tensor([8000, 0, 1, 100])
    waveform[0, :4000] = 0.1 * torch.randn(4000)
    with torch.no_grad():
        features, num_steps = encoder(waveform, num_samples)
        none, no_steps = encoder(torch.zeros(1, 0), torch.tensor([0]))
    assert num_steps[1] == no_steps[0] == 0
    assert (num_steps[2:] >= 1).all()
    assert torch.isfinite(features).all()
    assert torch.isfinite(none).all()


@pytest.mark.parametrize("pretrained", [True, False])
def test_whisper_positions_are_frozen(tiny_encoder, pretrained):
    encoder = PretrainedEncoder(str(tiny_encoder("whisper")), pretrained=pretrained)
    assert [name for name, parameter in encoder.named_parameters() if not parameter.requires_grad] == [
        "model.embed_positions.weight"
    ]
