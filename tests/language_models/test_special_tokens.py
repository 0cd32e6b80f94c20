"""Special tokens: a model keeps its tokenizer; a missing end of text is added."""

import shutil

import pytest
import torch
from language_models import TEXT
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from spectron.errors import ConfigError
from spectron.language_models import CausalLanguageModel

LINES = TEXT.splitlines()


def sentencepiece_like():
    """Return a small tokenizer like Llama's first: spaces are letters, and one precedes every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(
        [*LINES, "| , ' ï über"], trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    )
    return tokenizer


def lower_casing():
    """Return a tokenizer with lower-case letters only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def with_tokenizer(source, folder, tokenizer, rows=None, **special):
    """Copy a tiny model with another tokenizer, its embeddings cut to the tokenizer's size or to ``rows``."""
    shutil.copytree(source, folder)
    model = AutoModelForCausalLM.from_pretrained(source)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    model.resize_token_embeddings(rows or len(wrapped))
    model.config.eos_token_id = model.config.bos_token_id = model.config.pad_token_id = None
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@torch.no_grad()
@pytest.mark.parametrize(
    "family", ["llama", "llama_tied", "gpt2", "phi"]
)  # tied, untied, and with a bias in the output layer
def test_missing_end_of_text_is_added_without_other_changes(family, tiny_language_model, tmp_path):
    source = with_tokenizer(tiny_language_model(family), tmp_path / "model", lower_casing())
    before, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    model = CausalLanguageModel(source=str(source)).eval()
    rows = before.get_input_embeddings().num_embeddings
    assert (model.eos_id, model.sos_id, model.pad_id) == (rows, rows, rows)
    ids, _ = model.tokenize(LINES[:1])
    assert ids[0].tolist() == tokenizer(LINES[0])["input_ids"]
    now, then = model.lm(input_ids=ids).logits, before(input_ids=ids).logits
    assert now.shape[-1] == rows + 1
    torch.testing.assert_close(now[..., :rows], then, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.lm.get_input_embeddings().weight[:rows], before.get_input_embeddings().weight)
    tied = model.lm.get_output_embeddings().weight is model.lm.get_input_embeddings().weight
    assert tied == (family in ("llama_tied", "gpt2"))
    model.save(tmp_path / "saved")
    assert CausalLanguageModel(source=str(tmp_path / "saved")).eos_id == rows


def test_spare_embedding_is_used_before_adding_rows(tiny_language_model, tmp_path):
    source = with_tokenizer(tiny_language_model("llama"), tmp_path / "model", lower_casing(), rows=320)
    model = CausalLanguageModel(source=str(source))
    assert model.lm.get_input_embeddings().num_embeddings == 320
    assert model.eos_id < 320


def test_more_tokens_than_embeddings_are_refused(tiny_language_model, tmp_path):
    source = with_tokenizer(tiny_language_model("llama"), tmp_path / "model", lower_casing(), rows=100)
    with pytest.raises(ConfigError, match=r"the tokenizer .* tokens, but its model has embeddings for 100"):
        CausalLanguageModel(source=str(source))


def test_start_token_is_bos_or_else_eos(tiny_language_model, tmp_path):
    own = CausalLanguageModel(source=str(tiny_language_model("llama")))
    assert (own.sos_id, own.eos_id, own.pad_id) == (1, 2, 0)
    only_end = with_tokenizer(tiny_language_model("llama"), tmp_path / "model", lower_casing(), eos_token="!")
    model = CausalLanguageModel(source=str(only_end))
    assert model.sos_id == model.eos_id == model.pad_id == model.tokenizer.convert_tokens_to_ids("!")


@pytest.mark.parametrize(
    "text", ["the cow says moo", "the cow , says ' moo '", "paris", "", "where do you go | my lovely", "naïve über"]
)
def test_plain_text_survives_tokenizing(text, tiny_language_model, tmp_path):
    folders = [
        tiny_language_model("gpt2"),
        with_tokenizer(tiny_language_model("llama"), tmp_path / "spm", sentencepiece_like()),
    ]
    for folder in folders:
        model = CausalLanguageModel(source=str(folder))
        ids, num_tokens = model.tokenize([text])
        assert model.detokenize([ids[0, : num_tokens[0]].tolist()]) == [text]


def test_lower_casing_tokenizer_returns_lower_case(tiny_language_model, tmp_path):
    model = CausalLanguageModel(
        source=str(with_tokenizer(tiny_language_model("llama"), tmp_path / "model", lower_casing()))
    )
    ids, _ = model.tokenize(["  The Cow "])
    assert model.detokenize(ids.tolist()) == ["the cow"]
