"""Encoders within models of other families: found, equal to the library's and unchanged by a copy, or refused."""

import pytest
import torch
import transformers

from spectron.encoders import PretrainedEncoder
from spectron.errors import ConfigError

RATE = 16000
SIZE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
FAST_CONFORMER = {**SIZE, "subsampling_conv_channels": 8, "layerdrop": 0.5}
CONFORMER = {
    "input_dim": 160,
    "num_layers": 2,
    "hidden_dim": 24,
    "num_heads": 2,
    "dim_head": 12,
    "output_dim": 20,
    "context_size": 50,
}
PROJECTOR = {"model_type": "blip_2_qformer", **SIZE, "encoder_hidden_size": 24}
SPEECHT5 = {
    "hidden_size": 24,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 30,
}
SPEECHT5 |= {
    f"{half}_{key}": value for half in ("encoder", "decoder") for key, value in (("layers", 1), ("attention_heads", 2))
}

# Each family's class, configuration, feature extractor and where its encoder stands.
WITHIN = {
    "parakeet": (
        "ParakeetForCTC",
        {
            "model_type": "parakeet_ctc",
            "encoder_config": {**FAST_CONFORMER, "num_mel_bins": 80},
            "vocab_size": 30,
            "pad_token_id": 0,
        },
        "ParakeetFeatureExtractor",
        "encoder",
    ),
    "lasr": (
        "LasrForCTC",
        {"model_type": "lasr_ctc", "encoder_config": FAST_CONFORMER, "vocab_size": 30},
        "LasrFeatureExtractor",
        "encoder",
    ),
    "granite": (
        "GraniteSpeechForConditionalGeneration",
        {
            "model_type": "granite_speech",
            "encoder_config": {**CONFORMER, "feedforward_mult": 2, "max_pos_emb": 64, "conv_kernel_size": 5},
            "text_config": {"model_type": "granite", **TEXT, "num_key_value_heads": 2},
            "projector_config": PROJECTOR,
        },
        "GraniteSpeechFeatureExtractor",
        "model.encoder",
    ),
    "speecht5": (
        "SpeechT5ForSpeechToText",
        {"model_type": "speecht5", **SPEECHT5},
        "SpeechT5FeatureExtractor",
        "speecht5.encoder",
    ),
    "encoder_decoder": (
        "SpeechEncoderDecoderModel",
        {
            "model_type": "speech-encoder-decoder",
            "encoder": {"model_type": "wav2vec2", **{k: v for k, v in SPEECHT5.items() if "conv" in k}, **SIZE},
            "decoder": {"model_type": "bert", **TEXT, "is_decoder": True, "add_cross_attention": True},
        },
        "Wav2Vec2FeatureExtractor",
        "encoder",
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Returns a function that writes a family's tiny model: its folder and the model."""

    def write(kind, config, extractor):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(kind)
        model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**config)).eval()
        model.save_pretrained(folder)
        getattr(transformers, extractor)(**({"feature_size": 80} if "Parakeet" in extractor else {})).save_pretrained(
            folder
        )
        return folder, model

    return write


def heard(encoder, num_samples):
    torch.manual_seed(1)
    with torch.no_grad():
        return encoder(0.1 * torch.randn(1, num_samples), torch.tensor([num_samples]))[0][0]


@pytest.mark.parametrize("family", WITHIN)
def test_it_is_found_kept_and_takes_any_length(written, tmp_path, family):
    kind, config, extractor, place = WITHIN[family]
    folder, model = written(kind, config, extractor)
    encoder = PretrainedEncoder(str(folder))
    part = model.get_submodule(place)
    torch.testing.assert_close(encoder.model.state_dict(), part.state_dict())
    assert getattr(encoder.model.config, "layerdrop", 0.0) == 0.0
    assert getattr(encoder.model.config, "apply_spec_augment", False) is False
    encoder.eval()
    torch.manual_seed(1)
    features = encoder.extractor(0.1 * torch.randn(1, 2 * RATE).numpy()[0], **encoder.front_end.arguments)
    with torch.no_grad():
        mask = {name: features[name] for name in ("attention_mask",) if name in features}
        expected = part(features[encoder.extractor.model_input_names[0]], **mask).last_hidden_state[0]
    found = heard(encoder, 2 * RATE)
    torch.testing.assert_close(found, expected[: len(found)], atol=1e-4, rtol=1e-4)
    for num_samples in (1, RATE // 10, RATE // 7, RATE // 5 + 1, RATE // 3):
        short = heard(encoder, num_samples)
        assert len(short) > 0
        assert torch.isfinite(short).all()
    again = PretrainedEncoder(str(tmp_path), **encoder.save(tmp_path)).eval()
    torch.testing.assert_close(heard(again, 2 * RATE), found, atol=1e-4, rtol=1e-4)


CODEC = {
    "hidden_size": 16,
    "num_filters": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "head_dim": 8,
}
CODEC |= {"num_key_value_heads": 2, "codebook_size": 16, "codebook_dim": 8, "vector_quantization_hidden_dimension": 8}


@pytest.mark.parametrize(
    ("kind", "config", "extractor", "said"),
    [
        (
            "MimiModel",
            {"model_type": "mimi", **CODEC, "upsample_groups": 16},
            "EncodecFeatureExtractor",
            r"`encoder` \(MimiEncoderModel\) gives latents, not features; "
            r"the whole \(MimiModel\) gives .*makes audio, as codecs",
        ),
        (
            "UnivNetModel",
            {"model_type": "univnet", "model_hidden_channels": 8},
            "UnivNetFeatureExtractor",
            r"the whole \(UnivNetModel\) gives waveforms, waveform_lengths, not features: "
            r"it makes audio, as codecs and vocoders do",
        ),
        (
            "SpeechT5ForTextToSpeech",
            {"model_type": "speecht5", **SPEECHT5},
            "SpeechT5FeatureExtractor",
            r"`speecht5\.encoder` \(SpeechT5EncoderWithTextPrenet\) cannot hear what SpeechT5FeatureExtractor gives",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalnum() else "",
)
def test_what_holds_none_is_refused_with_what_it_gives(written, kind, config, extractor, said):
    folder, _ = written(kind, config, extractor)
    with pytest.raises(
        ConfigError, match=rf"^source: .* is a '.*' model, and no speech encoder.*{said}.*Name a model of a family"
    ):
        PretrainedEncoder(str(folder))
