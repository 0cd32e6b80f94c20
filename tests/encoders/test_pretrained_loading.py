"""Loading of pre-trained encoders from folders and hub names, and their errors."""

import json
import shutil

import pytest
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from speech_encoders import LAYERS, WIDTH, write_speech_encoder

from spectron.encoders import PretrainedEncoder
from spectron.errors import ConfigError


@pytest.fixture
def copied(tiny_encoder, tmp_path):
    """Return a function that copies the folder of a family."""
    return lambda family="wav2vec2": shutil.copytree(tiny_encoder(family), tmp_path / "copy")


def trainable(encoder):
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def encoded(encoder):
    torch.manual_seed(4)
    with torch.no_grad():
        return encoder.eval()(0.1 * torch.randn(1, 6000), torch.tensor([6000]))[0]


def test_hub_name_is_loaded_from_cache_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--tiny-hubert"
    first, second = "a" * 40, "b" * 40
    write_speech_encoder("hubert", repository / "snapshots" / first)
    write_speech_encoder("wavlm", repository / "snapshots" / second)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(first)
    (repository / "refs" / "v2").write_text(second)
    assert PretrainedEncoder("someone/tiny-hubert").model.config.model_type == "hubert"
    assert PretrainedEncoder("someone/tiny-hubert", revision="v2").model.config.model_type == "wavlm"
    assert PretrainedEncoder("someone/tiny-hubert", revision=second).model.config.model_type == "wavlm"
    with pytest.raises(
        ConfigError, match=r"'someone/tiny-hubart' is not available.*HF_HUB_OFFLINE is set.*or give a folder"
    ) as raised:
        PretrainedEncoder("someone/tiny-hubart")
    assert raised.value.key == "source"
    with pytest.raises(ConfigError, match=r"'someone/tiny-hubert' at revision 'v3' is not available"):
        PretrainedEncoder("someone/tiny-hubert", revision="v3")


def test_pickled_weights_are_refused(copied):
    folder = copied()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"only pytorch_model\.bin, and pickled weights are not loaded") as raised:
        PretrainedEncoder(str(folder))
    assert raised.value.key == "source"
    PretrainedEncoder(str(folder), pretrained=False)


@pytest.mark.parametrize("extractor", [None, transformers.CLIPImageProcessor])
def test_model_without_audio_input_is_refused(tmp_path, extractor):
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    if extractor:
        extractor().save_pretrained(tmp_path)
    wrong = "is a 'bert' model without a prep.*name a speech encoder|no feature extractor of a 'bert' model"
    with pytest.raises(ConfigError, match=wrong) as raised:
        PretrainedEncoder(str(tmp_path))
    assert raised.value.key == "source"


def test_text_model_with_audio_extractor_is_refused(tmp_path, tiny_encoder):
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    shutil.copy(tiny_encoder("wav2vec2") / "preprocessor_config.json", tmp_path)
    with pytest.raises(
        ConfigError, match=r" is a 'bert' model.*the whole \(BertModel\) reads text.*Name a model of a family"
    ) as raised:
        PretrainedEncoder(str(tmp_path))
    assert raised.value.key == "source"


def test_folder_without_model_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"holds no config\.json") as raised:
        PretrainedEncoder(str(tmp_path))
    assert raised.value.key == "source"


@pytest.mark.parametrize("layer", [-1, LAYERS + 1])
@pytest.mark.parametrize("family", ["wav2vec2", "whisper", "speech_to_text"])
def test_missing_layer_is_refused(tiny_encoder, family, layer):
    with pytest.raises(ConfigError, match=rf" has {LAYERS} layers.*got {layer}" if layer > 0 else "") as raised:
        PretrainedEncoder(str(tiny_encoder(family)), layer=layer)
    assert raised.value.key == "layer"


def test_incomplete_weights_are_refused(copied):
    folder = copied()
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if "layers.1.attention" not in k},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ConfigError, match=r"lacks 8 tensors of its encoder \(encoder\.layers\.1\.attention") as raised:
        PretrainedEncoder(str(folder))
    assert raised.value.key == "source"


def test_weights_of_other_shape_are_refused(copied):
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    wrong = (
        r"holds 9 tensors whose shapes differ from.*encoder\.layers\.0\.feed.* is \(32,\) in .*and \(40,\) in config"
    )
    with pytest.raises(ConfigError, match=wrong) as raised:
        PretrainedEncoder(str(folder))
    assert raised.value.key == "source"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "config.json",
            "{",
            r"config\.json is not JSON \(Expecting property name.*line 1 column 2.*Copy or fetch it again",
        ),
        ("config.json", "[]", r"config\.json holds a JSON list"),
        ("preprocessor_config.json", "<html>", r"preprocessor_config\.json is not JSON \(Expecting value.*line 1"),
        ("preprocessor_config.json", "{}\xe9", r"preprocessor_config\.json is not JSON"),
        (
            "preprocessor_config.json",
            '"sampling_rate": "16k"',
            r"preprocessor_config\.json has `sampling_rate` '16k'\. Write",
        ),
        ("preprocessor_config.json", '"sampling_rate": 0', r"preprocessor_config\.json has `sampling_rate` 0\."),
    ],
)
def test_broken_settings_file_is_refused(copied, file, text, said):
    path = copied() / file
    if text.startswith('"'):
        key, value = json.loads("{" + text + "}").popitem()
        text = json.dumps({**json.loads(path.read_text()), key: value})
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=rf"{said}") as raised:
        PretrainedEncoder(str(path.parent))
    assert raised.value.key == "source"


def test_remote_code_needs_permission(copied):
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    own = {**config, "model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig", "AutoModel": "mine.MyModel"}}
    (folder / "config.json").write_text(json.dumps(own))
    (folder / "mine.py").write_text(
        "from transformers import Wav2Vec2Config, Wav2Vec2Model\n\n\n"
        "class MyConfig(Wav2Vec2Config):\n    model_type = 'mine'\n\n\n"
        "class MyModel(Wav2Vec2Model):\n    config_class = MyConfig\n"
    )
    with pytest.raises(ConfigError, match=r"allow them with `remote_code: true`") as raised:
        PretrainedEncoder(str(folder))
    assert raised.value.key == "remote_code"
    encoder = PretrainedEncoder(str(folder), remote_code=True)
    assert encoder.row_by_row
    assert encoder.output_dim == WIDTH


def test_spec_augment_of_whisper_is_refused(tiny_encoder):
    with pytest.raises(ConfigError, match=r"'whisper'") as raised:
        PretrainedEncoder(str(tiny_encoder("whisper")), spec_augment=True)
    assert raised.value.key == "spec_augment"


def test_head_is_dropped(tiny_encoder, tmp_path):
    model = transformers.Wav2Vec2ForCTC.from_pretrained(tiny_encoder("mms"))
    encoder = PretrainedEncoder(str(tiny_encoder("mms")))
    torch.testing.assert_close(encoder.model.state_dict(), model.wav2vec2.state_dict())


@pytest.mark.parametrize("family", ["wav2vec2", "whisper_v3", "w2v_bert", "speech_to_text", "adapter", "data2vec"])
@pytest.mark.parametrize("layer", ["weighted", 1, "last"])
def test_saved_encoder_is_loaded_again(tiny_encoder, tmp_path, family, layer):
    encoder = PretrainedEncoder(str(tiny_encoder(family)), layer=layer)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    arguments = encoder.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "preprocessor_config.json").is_file()
    again = PretrainedEncoder(str(tmp_path / "saved"), **arguments)
    torch.testing.assert_close(encoded(again), encoded(encoder))
    assert {name for name, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in encoder.named_parameters() if p.requires_grad
    }


def test_half_precision_export(tiny_encoder, tmp_path):
    encoder = PretrainedEncoder(str(tiny_encoder("hubert")), layer="weighted", gradient_checkpointing=True)
    arguments = encoder.save(tmp_path, half=True)
    assert load_file(tmp_path / "model.safetensors")["feature_projection.projection.weight"].dtype == torch.float16
    again = PretrainedEncoder(str(tmp_path), **arguments)
    assert again.model.dtype == encoder.model.dtype == torch.float32
    assert again.gradient_checkpointing
    torch.testing.assert_close(encoded(again), encoded(encoder), atol=2e-2, rtol=2e-2)


def test_layer_weights_of_other_count_are_refused(copied):
    folder = copied()
    save_file({"layer_weights": torch.zeros(3)}, folder / "layer_weights.safetensors")
    with pytest.raises(ConfigError, match=r"weights of 3 layers, and the model has 4") as raised:
        PretrainedEncoder(str(folder), layer="weighted")
    assert raised.value.key == "source"


@pytest.mark.parametrize("family", ["wav2vec2", "whisper", "speech_to_text"])
def test_pretrained_false_gives_fresh_weights(tiny_encoder, family):
    torch.manual_seed(8)
    stored = PretrainedEncoder(str(tiny_encoder(family)))
    fresh = PretrainedEncoder(str(tiny_encoder(family)), pretrained=False)
    same = [torch.equal(a, b) for a, b in zip(stored.parameters(), fresh.parameters(), strict=True)]
    assert sum(same) < len(same) / 2
    assert encoded(fresh).shape == encoded(stored).shape
