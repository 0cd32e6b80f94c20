"""Decoding: batch against single, against teacher forcing, stop rules, kinds of text, lengths of the reference."""

from dataclasses import replace

import pytest
import torch
from tiny_spectron import FAMILIES, ragged_batch, row, tiny_model

from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.generation import split_texts
from spectron.segments import Stretch, read

SWITCHES = {
    "plain": {},
    "sampled": {"temperature": 1.0},
    "given": {"text": "given"},
    "empty": {"text": "empty"},
    "filler": {"text": "filler", "filler_tokens": 3},
    "reference": {"length": "reference"},
    "given as long as the reference": {"text": "given", "length": "reference"},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_batch_is_decoded_like_its_rows(family, switches, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    decoding = Decoding(max_text_tokens=7, max_seconds=0.6, **switches)
    whole = model.continue_speech(batch.prompts, decoding)
    for i in range(3):
        alone = model.continue_speech(row(batch, i).prompts, decoding)
        frames, samples = int(alone.num_frames[0]), int(alone.num_samples[0])
        assert alone.text[0] == whole.text[i]
        assert (frames, samples) == (int(whole.num_frames[i]), int(whole.num_samples[i]))
        assert bool(alone.stopped[0]) == bool(whole.stopped[i])
        torch.testing.assert_close(whole.mel[i, :frames], alone.mel[0, :frames], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("text", ["trained", "given", "empty", "filler"])
def test_decoding_agrees_with_teacher_forcing(text, tmp_path):
    """The cached decoder has the states of one pass over its whole output."""
    model, batch = tiny_model(tmp_path), row(ragged_batch(), 0)
    model.head.pre_net.settings.dropout_at_inference = False
    decoding = Decoding(max_text_tokens=6, max_seconds=0.5, stop_threshold=1.1, text=text, filler_tokens=3)
    said = model.continue_speech(batch.prompts, decoding)
    lm = model.language_model
    with torch.no_grad():
        prefix = model.segments["prompt"](batch).embeddings
        given = lm.tokenize(["what is the capital | of france is paris"])[0][0].tolist()
        tokens = {"given": given, "empty": [], "filler": [lm.sos_id] * 3}.get(text) or []
        for _ in range(6 if text == "trained" else 0):
            tokens.append(int(lm.logits(whole_pass(model, prefix, [lm.sos_id, *tokens])[:, -1]).argmax()))
            if tokens[-1] == lm.eos_id:
                tokens.pop()
                break
        assert lm.detokenize([tokens]) == said.text
        steps = said.mel.unflatten(1, (-1, 4)).flatten(2)
        hidden = whole_pass(model, prefix, [lm.sos_id, *tokens, lm.eos_id], model.head.embed(steps[:, :-1]))
        torch.testing.assert_close(model.head.predict(hidden[:, -steps.shape[1] :]), steps, atol=1e-4, rtol=1e-4)


def whole_pass(model, prefix, tokens, speech=None):
    """Read one row's prefix, tokens and speech at once, and return the hidden states."""
    rest = torch.cat([model.language_model.embed(torch.tensor([tokens])), *([] if speech is None else [speech])], dim=1)
    valid = [torch.ones(1, part.shape[1], dtype=torch.bool) for part in (prefix, rest)]
    stretches = [Stretch(prefix, valid[0], bidirectional=True), Stretch(rest, valid[1])]
    return torch.cat(read(model.language_model, stretches), dim=1)


@torch.no_grad()
def test_given_text_starts_speech_as_in_training(tmp_path):
    """The first step is the one that training predicts, in a ragged batch; the third row has no speech to train on."""
    model, batch = tiny_model(tmp_path), ragged_batch()
    said = model.continue_speech(batch.prompts, Decoding(text="given", max_seconds=0.2))
    first = model.head.predict(model(batch).hidden["speech"][:, 0])
    torch.testing.assert_close(said.mel[:2, :4].flatten(1), first[:2], atol=1e-5, rtol=1e-5)
    assert said.text == ["what is the capital | of france is paris", "paris | ", "is | is is is"]
    assert (said.transcript, said.continuation_text) == (batch.prompt_text, batch.continuation_text)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["empty", "filler", "none"])
def test_model_trained_without_text_speaks_as_in_training(kind, tmp_path):
    """The first step is the one that training predicts; ``Decoding.text: trained`` is the model's own text."""
    model, batch = tiny_model(tmp_path), ragged_batch()
    written = model(batch).hidden["speech"]
    model.segments["text"].kind = kind
    predicted = model(batch)
    said = model.continue_speech(batch.prompts, Decoding(max_seconds=0.2))
    first = model.head.predict(predicted.hidden["speech"][:, 0])
    torch.testing.assert_close(said.mel[:2, :4].flatten(1), first[:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(predicted.hidden["speech"], written, atol=1e-3)
    assert said.text == ["", "", ""]
    # An empty text is one token, its end. Filler tokens are given, so that none of them counts.
    losses, counts = model.losses(predicted), {"empty": 3, "filler": 0}
    assert ("text" in losses) == (kind in counts)
    assert kind not in counts or int(losses["text"].count) == counts[kind]
    assert predicted.hidden["text"].shape[1] == {"empty": 1, "filler": 17, "none": 0}[kind]


@pytest.mark.parametrize("text", ["empty", "filler"])
def test_decoding_without_words_has_no_text(text, tmp_path):
    said = tiny_model(tmp_path).continue_speech(ragged_batch().prompts, Decoding(text=text, max_seconds=0.2))
    assert (said.text, said.transcript, said.continuation_text) == (["", "", ""], None, None)


@pytest.mark.parametrize(
    ("switches", "lacking", "key", "said"),
    [
        ({"text": "given"}, {"texts": None}, "decoding.text", " a, b, c have none"),
        ({"text": "given"}, {"texts": [("x", ""), ("", "x"), ("", "")]}, "decoding.text", " c have none"),
        ({"length": "reference"}, {"speech_num_samples": None}, "decoding.length", "these prompts have none"),
    ],
)
def test_missing_reference_is_refused(switches, lacking, key, said, tmp_path):
    with pytest.raises(ConfigError, match=said) as raised:
        tiny_model(tmp_path).continue_speech(replace(ragged_batch().prompts, **lacking), Decoding(**switches))
    assert raised.value.key == key


def test_decoding_without_filler_tokens_is_refused():
    with pytest.raises(ConfigError) as raised:
        Decoding(text="filler", filler_tokens=0)
    assert raised.value.key == "filler_tokens"


@pytest.mark.parametrize("stop_threshold", [0.0, 1.1])
def test_row_speaks_as_long_as_its_reference(stop_threshold, tmp_path):
    """12,000, 6,500 and no samples: 60 and 33 frames of 12.5 ms, and a free row that stops at once or after 0.25 s."""
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    held = Decoding(
        max_text_tokens=2, max_seconds=0.25, min_seconds=0.0, stop_threshold=stop_threshold, length="reference"
    )
    said = model.continue_speech(prompts, held)
    free = 20 if stop_threshold > 1 else 4
    assert said.num_frames.tolist() == [60, 33, free]
    assert said.num_samples.tolist() == [12000, 6500, free * 200]
    assert said.stopped.tolist() == [True, True, stop_threshold == 0]


def test_stop_threshold_and_limits(tmp_path):
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    never = model.continue_speech(prompts, Decoding(max_text_tokens=2, max_seconds=0.5, stop_threshold=1.1))
    assert not never.stopped.any()
    assert never.num_frames.tolist() == [40, 40, 40]
    at_once = model.continue_speech(
        prompts, Decoding(max_text_tokens=2, max_seconds=0.5, min_seconds=0.2, stop_threshold=0.0)
    )
    assert at_once.stopped.all()
    assert at_once.num_frames.tolist() == [16, 16, 16]
    assert at_once.num_samples.tolist() == [3200, 3200, 3200]


def test_text_stopped_is_false_for_rows_cut_at_the_limit(tmp_path, monkeypatch):
    """The first row ends its text with the second token, the second with the third and last one, the third never."""
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    lm, given = model.language_model, iter([[9, 9, 9], [None, 9, 9], [9, None, 9]])
    ids = torch.arange(lm.logits(torch.zeros(1, lm.hidden_size)).shape[-1])

    def logits(hidden):
        return torch.stack([(ids == (lm.eos_id if token is None else token)).float() for token in next(given)])

    monkeypatch.setattr(lm, "logits", logits)
    said = model.continue_speech(prompts, Decoding(max_text_tokens=3, max_seconds=0.2))
    assert said.text_stopped.tolist() == [True, True, False]


@pytest.mark.parametrize("text", ["given", "empty", "filler"])
def test_text_stopped_is_none_if_model_writes_no_text(text, tmp_path):
    said = tiny_model(tmp_path).continue_speech(ragged_batch().prompts, Decoding(text=text, max_seconds=0.2))
    assert said.text_stopped is None


def test_sampling_depends_only_on_seed_and_id(tmp_path):
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    texts = [
        model.continue_speech(prompts, Decoding(6, 0.2, temperature=1.0, top_k=20, seed=seed)).text
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_texts_split_only_at_the_mark():
    assert split_texts(["what is it | a cow", "no mark"], " | ") == (["what is it", "no mark"], ["a cow", ""])
    assert split_texts(["what is it"], " ") == (None, None)
