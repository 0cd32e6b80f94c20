"""CTC spelling, collapsing and loss; text pre-training."""

from contextlib import nullcontext

import pytest
import torch
from tiny_spectron import tiny_model

from spectron.batch import SpeechBatch, SpokenLength
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError, DataError
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.segments import SequenceSettings
from spectron.training.ctc import CTCModel, CTCModule
from spectron.training.spectron import SpectronModule
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


class Transcripts:
    """Data module that only states its transcripts."""

    def __init__(self, *texts):
        self.texts = texts

    def lengths(self, validation_only=False):
        return [SpokenLength(f"u{place}", 1.0, 0.0, (text, "")) for place, text in enumerate(self.texts)]


def test_characters_that_targets_leave_out_are_counted():
    module = CTCModule(FrameStackEncoder(8), " abcdefgh")
    with pytest.warns(UserWarning, match="4 of 12 characters.*'7' 2, '\xe9' 1, '!' 1.*1 transcripts") as said:
        module.require_usable_texts(Transcripts("A head", "", "caf\xe9!", "7 7"))
    assert len(said) == 1


def test_transcripts_that_can_be_spelled_are_not_mentioned(recwarn):
    CTCModule(FrameStackEncoder(8)).require_usable_texts(Transcripts("THE COW'S moo", "paris  lima"))
    assert not recwarn


def test_transcripts_in_another_alphabet_are_refused():
    with pytest.raises(DataError):
        CTCModule(FrameStackEncoder(8)).require_usable_texts(Transcripts("\u043c\u0443", "moo"[:1]))


@pytest.mark.parametrize("characters", ["ABC", "abca", ""])
def test_characters_that_no_text_can_use_are_refused(characters):
    with pytest.raises(ConfigError) as error:
        CTCModule(FrameStackEncoder(8), characters)
    assert error.value.key == "characters"


def test_character_error_rate_ignores_case():
    module = CTCModule(FrameStackEncoder(8), "ab").eval()
    path = torch.tensor([[1, 0, 2]])
    module.model.forward = lambda waveform, lengths: (
        torch.nn.functional.one_hot(path, 3).float().clamp(min=1e-3).log(),
        torch.tensor([3]),
    )
    assert float(module.loss_terms(batch(["AB"]))["character_error_rate"].total) == 0


@pytest.mark.parametrize(
    ("separator", "text", "refused"), [(" | ", "before", True), (" | ", "empty", False), (" ", "before", False)]
)
def test_text_with_mark_between_halves_is_refused(tmp_path, separator, text, refused):
    module = SpectronModule.__new__(SpectronModule)
    torch.nn.Module.__init__(module)
    module.model = tiny_model(tmp_path)
    module.model.settings = SequenceSettings(text=text, text_separator=separator)
    with pytest.raises(DataError, match="u1") if refused else nullcontext():
        module.require_usable_texts(Transcripts("the cow", "says|moo"))
    module.require_usable_texts(Transcripts("the cow", "says moo"))
