"""Text and speech in turn: the layout by hand, decoding against teacher forcing, and which comes first."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_spectron import ragged_batch, tiny_model

from spectron.audio.mel import MelConfig
from spectron.batch import select
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.systems.text_topline import TextTopline
from spectron.heads import MelRegressionHead, PreNetSettings
from spectron.segments import Schedule, SequenceSettings, Stretch
from spectron.segments.interleaved import Interleaved

# Without dropout in decoding, which teacher forcing does not have.
STEADY = partial(
    MelRegressionHead, mel=MelConfig(n_mels=20), frames_per_step=4, pre_net=PreNetSettings(bottleneck=16, dropout=0.0)
)


def interleaved(folder, text=2, speech=3, **sequence):
    settings = SequenceSettings(text="interleaved", schedule=Schedule(text, speech), text_separator=" | ", **sequence)
    return tiny_model(folder, sequence=settings, head=STEADY).eval()


def numbered(first, lengths, longest):
    """Return a stretch whose embeddings are the numbers of its positions."""
    numbers = first + torch.arange(longest, dtype=torch.float)
    valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return Stretch(numbers.expand(len(lengths), -1)[..., None], valid)


@pytest.mark.parametrize(
    ("tokens", "steps", "expected"),
    [
        (3, 7, [0, 1, 100, 101, 102, 2, 103, 104, 105, 106]),  # the speech goes on alone
        (5, 2, [0, 1, 100, 101, 2, 3, 4]),  # the text is written to its end
        (1, 4, [0, 100, 101, 102, 103]),
        (4, 0, [0, 1, 2, 3]),
    ],
)
def test_turns_of_two_tokens_and_three_steps_by_hand(tmp_path, tokens, steps, expected):
    segment = interleaved(tmp_path).segments["speech"]
    # A longer row beside it must not change the order of its positions.
    joined = segment.joined(numbered(0, [tokens, 6], 6), numbered(100, [steps, 9], 9))
    assert joined.embeddings[0, joined.valid[0], 0].tolist() == expected
    text, written, speech, spoken = segment.apart(joined, joined.embeddings)
    assert written[0, text.valid[0], 0].tolist() == list(range(tokens))
    assert spoken[0, speech.valid[0], 0].tolist() == [100 + step for step in range(steps)]


def test_losses_are_those_of_both_streams(tmp_path):
    model, batch = interleaved(tmp_path), ragged_batch()
    assert list(model.segments) == ["prompt", "speech"]
    assert isinstance(model.segments["speech"], Interleaved)
    names = {"text", "text_accuracy", "speech", "spectrogram", "stop"}
    losses = model.losses(model(batch), ["alignment"])
    assert names | {"alignment"} <= set(losses)
    assert all(term.total.isfinite() for term in losses.values())
    scores = model.score_speech(batch)
    assert float(scores.text_nats.sum()) == pytest.approx(float(losses["text"].total), rel=1e-4)
    assert float(scores.speech_loss.sum()) == pytest.approx(float(losses["speech"].total), rel=1e-4)


def test_speech_begins_before_the_text_ends(tmp_path, monkeypatch):
    """Record the order in which the language model is asked for tokens and the head for steps."""
    model, order = interleaved(tmp_path, text=2, speech=3), []
    head, lm = type(model.head), type(model.language_model)
    step, logits = head.step, lm.logits
    monkeypatch.setattr(head, "step", lambda *given: order.append("step") or step(*given))
    monkeypatch.setattr(lm, "logits", lambda *given: order.append("token") or logits(*given))
    decoding = Decoding(max_text_tokens=5, max_seconds=0.5, min_seconds=0.5, stop_threshold=1.1)
    batch = select(ragged_batch(), [0])
    batch.prompt = batch.prompt[:, : int(batch.prompt_num_samples[0])]
    model.continue_speech(batch.prompts, decoding)
    assert order[:5] == ["token"] * 2 + ["step"] * 3
    assert order[5] == "token"
    order.clear()
    before = tiny_model(tmp_path).eval()
    before.continue_speech(batch.prompts, decoding)
    assert "token" not in order[order.index("step") :]


@torch.inference_mode()
@pytest.mark.parametrize(("text", "speech"), [(1, 1), (2, 3), (5, 2), (40, 40)])
def test_decoded_positions_have_the_states_of_teacher_forcing(tmp_path, monkeypatch, text, speech):
    """Let the model read its own text and speech again: the same steps must be predicted from the true past."""
    model, batch = interleaved(tmp_path, text, speech), ragged_batch()
    seen = []
    step = type(model.head).step
    monkeypatch.setattr(
        type(model.head), "step", lambda head, hidden, *more: seen.append(hidden) or step(head, hidden, *more)
    )
    given = Decoding(text="given", max_seconds=0.4, min_seconds=0.4, stop_threshold=1.1)
    model.continue_speech(batch.prompts, given)
    decoded, steps = torch.stack(seen, dim=1), torch.stack([step(model.head, hidden)[0] for hidden in seen], dim=1)
    segment = model.segments["speech"]
    spoken = segment.speech(batch)
    count = torch.full((len(batch.ids),), steps.shape[1])
    targets = replace(spoken.targets, steps=steps, num_steps=count)
    past = replace(
        spoken,
        embeddings=segment.speech.embedded(steps),
        valid=torch.ones(steps.shape[:2], dtype=torch.bool),
        targets=targets,
    )
    joined = segment.joined(segment.text(batch), past)
    hidden = model.read({"prompt": model.segments["prompt"](batch), "speech": joined})["speech"]
    torch.testing.assert_close(segment.apart(joined, hidden)[3], decoded, atol=2e-4, rtol=1e-3)


def test_rows_are_written_and_spoken_as_alone(tmp_path):
    model, batch = interleaved(tmp_path), ragged_batch()
    decoding = Decoding(max_text_tokens=7, max_seconds=0.5, temperature=1.0)
    together = model.continue_speech(batch.prompts, decoding)
    for number, name in enumerate(batch.ids):
        one = select(batch, [number])
        one.prompt = one.prompt[:, : int(one.prompt_num_samples[0])]
        alone = model.continue_speech(one.prompts, decoding)
        assert alone.text == [together.text[number]], name
        count = int(alone.num_frames[0])
        assert count == int(together.num_frames[number])
        torch.testing.assert_close(alone.mel[0, :count], together.mel[number, :count], atol=1e-3, rtol=1e-3)


def test_text_topline_uses_the_separator_of_the_sequence(tmp_path):
    system = TextTopline(interleaved(tmp_path), {"a": "is"})
    assert system.separator == " | "


def test_text_without_turns_is_refused(tmp_path):
    with pytest.raises(ConfigError) as raised:
        interleaved(tmp_path).continue_speech(ragged_batch().prompts, Decoding(text="empty"))
    assert raised.value.key == "decoding.text"


def test_scheduled_sampling_reads_twice(tmp_path):
    model = interleaved(tmp_path, scheduled_sampling=1.0).train()
    assert model.segments["speech"].reads_twice
    model.losses(model(ragged_batch()))["speech"].mean.backward()
