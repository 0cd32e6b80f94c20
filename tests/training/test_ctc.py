"""CTC spelling, collapsing and loss; text pre-training."""

import pytest
import torch

from spectron.batch import SpeechBatch
from spectron.encoders import FrameStackEncoder
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.training.ctc import CTCModel, CTCModule
from spectron.training.text_lm import TextModule


def batch(texts: list[str]) -> SpeechBatch:
    torch.manual_seed(0)
    rows = len(texts)
    lengths = torch.full((rows,), 16000)
    return SpeechBatch(
        [str(i) for i in range(rows)],
        torch.randn(rows, 16000) * 0.1,
        lengths,
        texts,
        torch.zeros(rows, 0),
        lengths * 0,
        [""] * rows,
    )


def test_spell_and_collapse():
    model = CTCModel(FrameStackEncoder(8), " ab")
    assert model.spell("A b? ba") == [2, 1, 3, 1, 3, 2]
    assert model.collapse([0, 2, 2, 0, 2, 1, 1, 1, 0, 1, 3, 0]) == "aa b"


def test_ctc_loss_sums_over_all_paths():
    """The probability of "a" over 2 steps is the sum over the paths aa, a- and -a."""
    module = CTCModule(FrameStackEncoder(8), "a")
    p = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    module.model.forward = lambda waveform, lengths: (p.log(), torch.tensor([2]))
    module.train()
    term = module.loss_terms(batch(["a"]))["ctc"]
    assert float(term.total) == pytest.approx(
        -torch.tensor(0.75 * 0.5 + 0.75 * 0.5 + 0.25 * 0.5).log().item(), rel=1e-5
    )
    assert int(term.count) == 1


def test_character_error_rate_edits_over_characters():
    module = CTCModule(FrameStackEncoder(8), "ab").eval()
    path = torch.tensor([[1, 1, 0, 2]])  # "ab"
    module.model.forward = lambda waveform, lengths: (
        torch.nn.functional.one_hot(path, 3).float().clamp(min=1e-3).log(),
        torch.tensor([4]),
    )
    term = module.loss_terms(batch(["aa"]))["character_error_rate"]
    assert (float(term.total), float(term.count)) == (1.0, 2.0)


def test_character_error_rate_of_empty_reference():
    """Edits of "mo" for "moo", "mo" for "" and "cow" for "cow" are 1 + 2 + 0, over 3 + 0 + 3 characters."""
    module = CTCModule(FrameStackEncoder(8), "cmow").eval()
    path = torch.tensor([[2, 3, 0], [2, 3, 0], [1, 3, 4]])
    module.model.forward = lambda waveform, lengths: (
        torch.nn.functional.one_hot(path, 5).float().clamp(min=1e-3).log(),
        torch.tensor([3, 3, 3]),
    )
    term = module.loss_terms(batch(["moo", "", "cow"]))["character_error_rate"]
    assert (float(term.total), float(term.count)) == (3.0, 6.0)


def test_text_loss_equals_transformers(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    lm = CausalLanguageModel(
        config={"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2},
        tokenizer=TokenizerSettings(str(text), 300),
    )
    module = TextModule(lm).eval()
    lines = ["the cow says moo", "paris"]
    total, count = 0.0, 0
    for line in lines:
        ids = torch.tensor([[lm.sos_id, *lm.tokenize([line])[0][0].tolist(), lm.eos_id]])
        tokens = ids.shape[1] - 1
        total += float(lm.lm(input_ids=ids, labels=ids).loss.detach()) * tokens
        count += tokens
    term = module.loss_terms(lines)["text"]
    assert int(term.count) == count
    assert float(term.total.detach()) == pytest.approx(total, rel=1e-4)
