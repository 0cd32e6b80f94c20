"""Language models from folders and from configurations: what is read, what is refused, what is written."""

import os
from pathlib import Path

import pytest
import torch

from spectron.errors import ConfigError, DataError
from spectron.generation import visibility
from spectron.language_models import CausalLanguageModel, TokenizerSettings

DATA = os.environ.get("SPECTRON_DATA")


def test_bad_arguments():
    with pytest.raises(ConfigError, match="exactly one of the two"):
        CausalLanguageModel()
    with pytest.raises(ConfigError, match=r"^tokenizer: "):
        CausalLanguageModel(config={"model_type": "llama"})
    with pytest.raises(ConfigError, match="no/such/folder"):
        CausalLanguageModel(source="no/such/folder/at/all")
    with pytest.raises(DataError, match=r"missing\.txt"):
        CausalLanguageModel(config={"model_type": "llama"}, tokenizer=TokenizerSettings("missing.txt"))


def test_unknown_model_type(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a cow")
    with pytest.raises(ConfigError, match="lama"):
        CausalLanguageModel(config={"model_type": "lama"}, tokenizer=TokenizerSettings(str(text), 300))


@pytest.mark.skipif(DATA is None, reason="SPECTRON_DATA is not set: it should name the folder that holds stories260K")
def test_a_local_pretrained_model_gives_what_transformers_gives():
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


def test_saved_and_loaded_again(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}
    model = CausalLanguageModel(config=config, tokenizer=TokenizerSettings(str(text), 300)).eval()
    model.save(tmp_path / "saved")
    again = CausalLanguageModel(source=str(tmp_path / "saved")).eval()
    ids, _ = model.tokenize(["the cow is in paris"])
    assert ids.tolist() == again.tokenize(["the cow is in paris"])[0].tolist()
    assert (model.sos_id, model.eos_id) == (again.sos_id, again.eos_id)
    embeddings, visible = model.embed(ids), visibility(torch.ones_like(ids, dtype=torch.bool), ids.shape[1])
    positions = torch.arange(ids.shape[1])[None]
    torch.testing.assert_close(model(embeddings, visible, positions)[0], again(again.embed(ids), visible, positions)[0])
