"""Special tokens: a model keeps its tokenizer; a missing end of text is added."""

import shutil
from contextlib import nullcontext, suppress

import pytest
import torch
from language_models import TEXT
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from spectron.errors import ConfigError, DataError
from spectron.evaluation.judges.text_scorers import TransformersTextScorer
from spectron.generation import text_sequence
from spectron.language_models import CausalLanguageModel, LlamaLanguageModel

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


def word_level():
    """Return a tokenizer whose vocabulary contains special tokens as words."""
    words = {word: place for place, word in enumerate(["<unk>", "<s>", "</s>", *sorted(set(TEXT.split()))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def unigram():
    """Return a tokenizer such as XGLM's: the pieces contain the special tokens, with the best score."""
    letters = [(letter, -5.0) for letter in sorted({*TEXT, "\u2581", *"</s>."})]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *letters], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
TOKENIZERS = {
    "sentencepiece": (sentencepiece_like, SPECIAL),
    "lower_casing": (lower_casing, {"eos_token": "<|end|>", "additional_special_tokens": ["<|user|>"]}),
    "without_end": (lower_casing, {}),
    "word_level": (word_level, SPECIAL),
    "unigram": (unigram, SPECIAL),
}


def control_tokens(model):
    """Return the special tokens that no text can contain."""
    tokenizer = model.tokenizer
    ids = {*tokenizer.all_special_ids, model.eos_id, model.sos_id} - {tokenizer.unk_token_id}
    return {tokenizer.convert_ids_to_tokens(token): token for token in ids}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_token_in_text_stays_text(kind, tiny_language_model, tmp_path):
    """The text keeps its letters, or it is refused; it never contains the token itself."""
    make, special = TOKENIZERS[kind]
    model = CausalLanguageModel(
        source=str(with_tokenizer(tiny_language_model("llama"), tmp_path / "model", make(), **special))
    )
    control = control_tokens(model)
    assert control
    for name in control:
        for text in (name, f"paris {name} is", f" {name}{name}", f"a{name}b"):
            may_refuse = kind in ("word_level", "unigram")
            with suppress(DataError) if may_refuse else nullcontext():
                ids, counts = model.tokenize([text, "paris"])
                row = ids[0, : counts[0]].tolist()
                assert not set(control.values()) & set(row)
                if model.tokenizer.unk_token_id not in row:
                    assert model.detokenize([row]) == [text.strip().lower()]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_text_sequence_ends_only_at_its_end(family, tiny_language_model):
    folder = str(tiny_language_model(family))
    kinds = [CausalLanguageModel] + [LlamaLanguageModel] * (family == "llama")
    for model in (kind(source=folder) for kind in kinds):
        inputs, targets, valid = text_sequence(model, ["the cow </s> says <s> moo", "</s>"])
        assert (targets == model.eos_id)[valid].sum() == 2
        assert (inputs == model.sos_id)[valid].sum() == 2
        assert model.detokenize([row[:-1].tolist() for row in targets[:1]]) == ["the cow </s> says <s> moo"]


def test_text_scorer_scores_letters_of_special_token(tiny_language_model):
    scorer = TransformersTextScorer(str(tiny_language_model("gpt2")))
    scorer.load()
    ((_, tokens),) = scorer.score(["</s>"])
    assert tokens > 1
