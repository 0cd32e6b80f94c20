"""Language models from folders and configurations: loading, saving, refused inputs."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from speech_encoders import write_speech_encoder

from spectron.errors import ConfigError, DataError, SpectronError
from spectron.generation import visibility
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.language_models.tokenizer import train_tokenizer

DATA = os.environ.get("SPECTRON_DATA")


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="exactly one of the two"):
        CausalLanguageModel()
    with pytest.raises(ConfigError, match=r"^tokenizer: "):
        CausalLanguageModel(config={"model_type": "llama"})
    with pytest.raises(ConfigError, match="no/such/folder"):
        CausalLanguageModel(source="no/such/folder/at/all")
    with pytest.raises(DataError, match=r"^tokenizer\.text: there is no file .*missing\.txt"):
        CausalLanguageModel(config={"model_type": "llama"}, tokenizer=TokenizerSettings("missing.txt"))


@pytest.mark.skipif(DATA is None, reason="SPECTRON_DATA is not set: it should name the folder that holds stories260K")
def test_local_pretrained_model_gives_transformers_numbers():
    folder = Path(str(DATA)) / "stories260K" / "hf"
    model = CausalLanguageModel(source=str(folder)).eval()
    ids, num_tokens = model.tokenize(["once upon a time there was a little girl", "the cow"])
    with torch.no_grad():
        own = model.lm(input_ids=ids[:1]).logits
        valid = torch.arange(ids.shape[1]) < num_tokens[:, None]
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        hidden, _ = model(model.embed(ids), visibility(valid, ids.shape[1]), positions)
        short = model.lm(input_ids=ids[1:, : num_tokens[1]]).logits
    torch.testing.assert_close(model.logits(hidden[:1]), own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.logits(hidden[1:, : num_tokens[1]]), short, atol=1e-4, rtol=1e-4)


def test_saved_model_loads_again(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}
    model = CausalLanguageModel(config=config, tokenizer=TokenizerSettings(str(text), 300)).eval()
    model.save(tmp_path / "saved")
    again = CausalLanguageModel(source=str(tmp_path / "saved")).eval()
    ids, _ = model.tokenize(["the cow is in paris"])
    assert ids.tolist() == again.tokenize(["the cow is in paris"])[0].tolist()
    assert (model.sos_id, model.eos_id) == (again.sos_id, again.eos_id)
    embeddings, attention_mask = model.embed(ids), visibility(torch.ones_like(ids, dtype=torch.bool), ids.shape[1])
    positions = torch.arange(ids.shape[1])[None]
    torch.testing.assert_close(
        model(embeddings, attention_mask, positions)[0], again(again.embed(ids), attention_mask, positions)[0]
    )


def test_not_pretrained_has_fresh_weights_of_same_architecture(tiny_language_model):
    folder = str(tiny_language_model("gemma2"))
    torch.manual_seed(1)
    fresh, trained = CausalLanguageModel(source=folder, pretrained=False), CausalLanguageModel(source=folder)
    assert {name: p.shape for name, p in fresh.named_parameters()} == {
        name: p.shape for name, p in trained.named_parameters()
    }
    assert fresh.lm.config.final_logit_softcapping == trained.lm.config.final_logit_softcapping == 2.0
    assert fresh.tokenize(["the cow"])[0].tolist() == trained.tokenize(["the cow"])[0].tolist()
    matrices = [
        (a.detach(), b.detach()) for a, b in zip(fresh.parameters(), trained.parameters(), strict=True) if a.ndim > 1
    ]
    assert not any(torch.equal(a, b) for a, b in matrices)
    assert all(
        float(a.std()) < 0.1 < float(b.std()) for a, b in matrices
    )  # the library's 0.02 against the tiny models' 0.25


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "opt"])
def test_custom_tokenizer_is_read_as_written(family, tiny_language_model):
    """For Qwen 2 transformers would use its own class instead, which splits words differently."""
    folder = tiny_language_model(family)
    own = train_tokenizer(TokenizerSettings(str(folder / "corpus_of_the_tokenizer.txt"), 300))
    texts = ["the cow, says: it's moo!", "paris 12"]
    read = CausalLanguageModel(source=str(folder)).tokenizer
    assert len(read) == len(own)
    assert read(texts)["input_ids"] == own(texts)["input_ids"]


@pytest.mark.parametrize(
    ("config", "key", "allowed"),
    [
        ({"model_type": "lama"}, "config.model_type", "llama"),
        ({"model_type": "gpt2", "n_embed": 32}, "config.n_embed", "n_embd"),
        ({"model_type": "llama", "qqq": 1}, "config.qqq", "hidden_size"),
    ],
)
def test_unknown_name_in_config_is_refused(config, key, allowed, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a cow")
    with pytest.raises(ConfigError) as raised:
        CausalLanguageModel(config=config, tokenizer=TokenizerSettings(str(text), 300))
    assert raised.value.key == key
    assert allowed in raised.value.allowed


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "llama", "hidden_size": "wide"},
            r"^config: .*cannot be read as a causal language model: .*hidden_size",
        ),
        ({"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}, r"^config: "),
    ],
)
def test_wrong_value_in_config_is_refused(config, message, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a cow")
    with pytest.raises(ConfigError, match=message):
        CausalLanguageModel(config=config, tokenizer=TokenizerSettings(str(text), 300))


def test_config_accepts_names_of_family_and_common_names(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a cow")
    for config in (
        {"n_embd": 32, "n_layer": 1, "n_head": 2},
        {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    ):
        model = CausalLanguageModel(
            config={"model_type": "gpt2", **config}, tokenizer=TokenizerSettings(str(text), 300)
        )
        assert (model.hidden_size, len(model.lm.transformer.h)) == (32, 1)
    llama = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "rope_theta": 500.0,
    }
    model = CausalLanguageModel(config=llama, tokenizer=TokenizerSettings(str(text), 300))
    assert model.lm.config.rope_parameters["rope_theta"] == 500.0


def test_incomplete_folder_is_refused(tiny_language_model, tmp_path):
    whole = tiny_language_model("llama")

    def without(*names):
        folder = tmp_path / "without" / "_".join(names)
        shutil.copytree(whole, folder)
        for name in names:
            (folder / name).unlink()
        return str(folder)

    with pytest.raises(ConfigError, match=r"^source: .* contains no \*\.safetensors"):
        CausalLanguageModel(source=without("model.safetensors"))
    with pytest.raises(ConfigError, match=r"^source: .*cannot be read as a tokenizer"):
        CausalLanguageModel(source=without("tokenizer.json", "tokenizer_config.json"))
    gpt2 = tmp_path / "gpt2"
    shutil.copytree(tiny_language_model("gpt2"), gpt2)
    for path in gpt2.glob("token*"):
        path.unlink()
    # Without these files, the library builds a tokenizer without words.
    with pytest.raises(ConfigError, match="contains no tokenizer") as raised:
        CausalLanguageModel(source=str(gpt2))
    assert raised.value.key == "source"
    with pytest.raises(ConfigError, match=r"^source: .*cannot be read as"):
        CausalLanguageModel(source=without("config.json"))
    CausalLanguageModel(source=without("model.safetensors", "generation_config.json"), pretrained=False)
    folder = Path(without("generation_config.json"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ConfigError,
        match=r"the safetensors .* lack 1 tensors of a LlamaForCausalLM .*up_proj.*pretrained: false",
    ) as raised:
        CausalLanguageModel(source=str(folder))
    assert raised.value.key == "source"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "model.safetensors",
            b"",
            r"/model\.safetensors is no whole safetensors file \(0 bytes; .*\)\. Fetch, copy or export it again",
        ),
        ("config.json", b'{"model_type": ', r"/config\.json is not JSON \(.*\)\. Copy or fetch it again"),
        ("tokenizer_config.json", b"[]", r"/tokenizer_config\.json holds a JSON list"),
        ("tokenizer.json", b"\xff", r"/tokenizer\.json is not JSON"),
        (
            "config.json",
            b'{"model_type": "t5"}',
            r"contains a t5 model, which is no causal language model\. Name one, such as gpt2$",
        ),
    ],
)
def test_folder_with_broken_file_is_refused(file, content, message, tiny_language_model, tmp_path):
    folder = Path(shutil.copytree(tiny_language_model("llama"), tmp_path / "broken"))
    (folder / file).write_bytes(content)
    with pytest.raises(SpectronError, match=f"^source: .*{message}"):
        CausalLanguageModel(source=str(folder))


@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
def test_speech_encoder_is_refused_as_language_model(family, tmp_path):
    folder = write_speech_encoder(family, tmp_path / family)
    with pytest.raises(ConfigError, match=rf"contains a {family} model, .*belongs under model\.encoder") as raised:
        CausalLanguageModel(source=str(folder))
    assert raised.value.key == "source"


@pytest.mark.parametrize("source", ["weights/gpt2_smal", "weihgts"])
def test_misspelt_folder_is_not_only_looked_up_on_hub(source, tmp_path, monkeypatch):
    (tmp_path / "weights" / "gpt2_small").mkdir(parents=True)
    (tmp_path / "weights" / "phi").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    near = "weights/gpt2_small" if "/" in source else "weights"
    with pytest.raises(
        ConfigError, match=rf"^source: there is no folder {source}; did you mean {near}\? .*HF_HUB_OFFLINE is set"
    ):
        CausalLanguageModel(source=source)
    with pytest.raises(ConfigError, match=r"^source: 'someone/else' is not available"):
        CausalLanguageModel(source="someone/else")


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bit_weights_have_32_bit_inputs_and_outputs(dtype, tiny_language_model, tmp_path):
    folder = str(tiny_language_model("llama"))
    model, whole = CausalLanguageModel(source=folder, dtype=dtype).eval(), CausalLanguageModel(source=folder).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    ids = torch.arange(3, 15)[None]
    attention_mask, places = visibility(torch.ones_like(ids, dtype=torch.bool), 12), torch.arange(12)[None]
    hidden, _ = model(model.embed(ids), attention_mask, places)
    logits = model.logits(hidden)
    assert model.embed(ids).dtype == hidden.dtype == logits.dtype == torch.float32
    expected = whole.logits(whole(whole.embed(ids), attention_mask, places)[0])
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()
    assert model.save(tmp_path / "saved") == {"dtype": dtype}
    again = CausalLanguageModel(source=str(tmp_path / "saved"), dtype=dtype).eval()
    assert torch.equal(again.logits(again(again.embed(ids), attention_mask, places)[0]), logits)
    # A trainer's precision of bf16-true converts the model as a whole, and nothing may come back in another type.
    assert whole.to(torch.bfloat16).embed(ids).dtype == torch.bfloat16


def test_training_has_no_cache_and_can_checkpoint_activations(tiny_language_model):
    ids = torch.arange(3, 15)[None]
    attention_mask, places = visibility(torch.ones_like(ids, dtype=torch.bool), 12), torch.arange(12)[None]
    gradients = []
    for checkpointing in (False, True):
        model = CausalLanguageModel(source=str(tiny_language_model("qwen3")), gradient_checkpointing=checkpointing)
        calls = []
        model.lm.model.layers[0].self_attn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        hidden, past = model(model.embed(ids), attention_mask, places)
        assert past is None
        model.logits(hidden).square().mean().backward()
        assert len(calls) == 1 + checkpointing
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)
