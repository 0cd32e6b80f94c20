"""The Llama in plain PyTorch gives the numbers of transformers' own, from the same folder."""

import json

import pytest
import torch
from language_models import write_language_model

from spectron.errors import CheckpointError, ConfigError
from spectron.generation import visibility
from spectron.language_models import CausalLanguageModel, LlamaLanguageModel

TEXTS = ["the cow says moo", "paris"]


@pytest.fixture(scope="module", params=["llama", "llama_tied"])
def folder(request, tmp_path_factory):
    return str(write_language_model(request.param, tmp_path_factory.mktemp(request.param)))


def read(model):
    """Hidden states of two ragged rows and of one more place after them, and the logits of all."""
    ids, lengths = model.tokenize(TEXTS)
    valid = torch.arange(ids.shape[1]) < lengths[:, None]
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    first, cache = model(model.embed(ids), visibility(valid, ids.shape[1]), positions)
    valid = torch.cat([valid, torch.ones(2, 1, dtype=torch.bool)], dim=1)
    second, _ = model(model.embed(ids[:, :1]), valid[:, None], lengths[:, None], cache)
    hidden = torch.cat([first, second], dim=1)
    return hidden[valid], model.logits(hidden)[valid]


def test_hidden_states_and_logits_equal_transformers(folder):
    ours, theirs = LlamaLanguageModel(folder).eval(), CausalLanguageModel(folder).eval()
    with torch.inference_mode():
        for one, other in zip(read(ours), read(theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert (ours.sos_id, ours.eos_id, ours.max_positions) == (theirs.sos_id, theirs.eos_id, theirs.max_positions)
    ids, lengths = ours.tokenize(TEXTS)
    assert torch.equal(ids, theirs.tokenize(TEXTS)[0])
    assert ours.detokenize([row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]) == TEXTS


def test_gradients_equal_transformers(folder):
    gradients = []
    for kind in (LlamaLanguageModel, CausalLanguageModel):
        model = kind(folder).train()
        ids, _ = model.tokenize(TEXTS[:1])
        seen = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
        hidden, cache = model(model.embed(ids), seen, torch.arange(ids.shape[1])[None])
        assert cache is None
        model.logits(hidden).square().mean().backward()
        gradients.append({name.removeprefix("lm."): p.grad for name, p in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6)


def test_saved_folder_loads_in_both_classes(folder, tmp_path):
    model = LlamaLanguageModel(folder).eval()
    assert model.save(tmp_path) == {}
    with torch.inference_mode():
        for kind in (LlamaLanguageModel, CausalLanguageModel):
            torch.testing.assert_close(read(kind(str(tmp_path)).eval())[1], read(model)[1], rtol=1e-5, atol=1e-6)


def test_pretrained_false_draws_fresh_weights(folder):
    torch.manual_seed(0)
    fresh = LlamaLanguageModel(folder, pretrained=False)
    assert fresh.model.layers[0].mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(fresh.model.norm.weight, torch.ones(32))


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_type", "mistral"), ("attention_bias", True), ("rope_parameters", {"rope_type": "linear"})],
)
def test_settings_that_are_not_implemented_are_refused(key, value, folder, tmp_path):
    LlamaLanguageModel(folder).save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ConfigError) as raised:
        LlamaLanguageModel(str(tmp_path))
    assert raised.value.key == "source"


def test_missing_tensor_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    LlamaLanguageModel(folder).save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        LlamaLanguageModel(str(tmp_path))
