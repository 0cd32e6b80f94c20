"""Scores of given text and speech: against single rows, the totals of training, and transformers' loss."""

import pytest
import torch
from tiny_spectron import FAMILIES, ragged_batch, row, tiny_model

from spectron.contracts import ScoresSpeech


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_rows_equal_single_rows_and_sum_to_loss(family, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    assert isinstance(model, ScoresSpeech)
    scores = model.score_speech(batch)
    with torch.no_grad():
        losses = model.losses(model(batch))
    for i in range(3):
        alone = model.score_speech(row(batch, i))
        for name, values in vars(scores).items():
            assert float(values[i]) == pytest.approx(float(getattr(alone, name)[0]), rel=1e-4), (name, i)
    for name, total in {"text": scores.text_nats, "speech": scores.speech_loss}.items():
        assert float(total.sum()) == pytest.approx(float(losses[name].total), rel=1e-5), name
    assert int(scores.text_tokens.sum()) == int(losses["text"].count)
    assert scores.speech_frames.tolist() == [60, 33, 0]
    assert float(scores.speech_loss[2]) == 0.0


@torch.no_grad()
def test_text_score_without_prompt_equals_transformers_loss(tmp_path):
    model, batch = tiny_model(tmp_path), ragged_batch()
    batch.prompt_num_samples = torch.zeros(3, dtype=torch.long)
    scores, lm = model.score_speech(batch), model.language_model
    for i, pair in enumerate(zip(batch.prompt_text, batch.continuation_text, strict=True)):
        ids = torch.tensor([[lm.sos_id, *lm.tokenizer(" | ".join(pair))["input_ids"], lm.eos_id]])
        loss = lm.lm(input_ids=ids, labels=ids).loss
        assert int(scores.text_tokens[i]) == ids.shape[1] - 1
        assert float(scores.text_nats[i]) == pytest.approx(float(loss) * (ids.shape[1] - 1), rel=1e-4)


def test_trained_candidate_scores_higher(tmp_path):
    """After training on one text and one continuation, both score higher than another text and louder speech."""
    model, batch = tiny_model(tmp_path), row(ragged_batch(), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        losses = model.losses(model(batch))
        optimizer.zero_grad()
        (losses["text"].mean + losses["speech"].mean).backward()
        optimizer.step()
    right = model.score_speech(batch)
    batch.continuation_text, batch.continuation = ["is france paris of"], 20 * batch.continuation
    wrong = model.score_speech(batch)
    assert -right.text_nats / right.text_tokens > -wrong.text_nats / wrong.text_tokens
    assert -right.speech_loss / right.speech_frames > -wrong.speech_loss / wrong.speech_frames
