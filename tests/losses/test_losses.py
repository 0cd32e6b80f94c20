"""Losses against hand-worked values and slow loops."""

import math

import numpy as np
import pytest
import torch
from tiny_spectron import tiny_model

from spectron.batch import Word
from spectron.errors import ConfigError
from spectron.losses import (
    ALIGNMENT_LOSSES,
    SpectrogramLoss,
    SpectrogramLossSettings,
    frame_level_targets,
    text_cross_entropy,
)


def test_text_cross_entropy_by_hand():
    logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]]])  # probabilities 1/4, 3/4 and 1/2, 1/2
    term = text_cross_entropy(logits, torch.tensor([[1, 0]]), torch.tensor([[True, True]]))
    assert float(term.total) == pytest.approx(-math.log(0.75) - math.log(0.5))
    masked = text_cross_entropy(logits, torch.tensor([[1, 0]]), torch.tensor([[True, False]]))
    assert float(masked.mean) == pytest.approx(-math.log(0.75))


def test_spectrogram_loss_by_hand():
    """Error frames [1, 3], [0, 2] (M = 2, T = 2).

    L_s: (1+3+0+2 + 1+9+0+4)/2 = 10. L_f: differences 2, 2: (2+2+4+4)/2 = 6.

    L_t of order 1: differences -1, -1: (1+1+1+1)/2 = 2; higher orders have no frames.
    """
    error = torch.tensor([[[1.0, 3.0], [0.0, 2.0]]])
    terms = SpectrogramLoss(SpectrogramLossSettings())(error, torch.zeros_like(error), torch.tensor([2]))
    assert {name: float(term.total) for name, term in terms.items()} == {
        "frames": 10.0,
        "frequency": 6.0,
        "time": 2.0,
        "spectrogram": 18.0,
    }
    assert float(terms["spectrogram"].mean) == 9.0
    weighted = SpectrogramLoss(SpectrogramLossSettings(frame_weight=0.0, frequency_weight=2.0, time_weight=0.5))
    assert float(weighted(error, torch.zeros_like(error), torch.tensor([2]))["spectrogram"].total) == 13.0


@pytest.mark.parametrize("reading", ["composed", "lagged"])
@pytest.mark.parametrize(("order", "lengths"), [(1, [5, 3]), (3, [7, 2]), (4, [1, 6])])
def test_spectrogram_loss_against_a_numpy_loop(reading, order, lengths):
    rng = np.random.default_rng(3)
    predicted, target = rng.normal(size=(2, 2, max(lengths), 4))
    expected = 0.0
    for row, frames in enumerate(lengths):
        error = predicted[row, :frames] - target[row, :frames]
        pieces = [error, np.diff(error, axis=1)]
        for k in range(1, order + 1):
            pieces.append(
                np.diff(error, n=k, axis=0) if reading == "composed" else error[k:] - error[: max(frames - k, 0)]
            )
        expected += sum(np.abs(piece).sum() + (piece**2).sum() for piece in pieces) / 4
    loss = SpectrogramLoss(SpectrogramLossSettings(time_order=order, time_delta=reading))
    term = loss(torch.tensor(predicted), torch.tensor(target), torch.tensor(lengths))["spectrogram"]
    assert float(term.total) == pytest.approx(expected, rel=1e-9)
    assert int(term.count) == sum(lengths)


def test_composed_and_lagged_time_delta_differ():
    frames = torch.tensor([0.0, 1.0, 4.0, 9.0])[None, :, None]
    composed = SpectrogramLoss(SpectrogramLossSettings(frame_weight=0, time_order=2, time_delta="composed"))
    lagged = SpectrogramLoss(SpectrogramLossSettings(frame_weight=0, time_order=2, time_delta="lagged"))
    # First differences 1, 3, 5 (L1 9, L2 35). Composed second: 2, 2 (4, 8). Lagged second: 4, 8 (12, 80).
    zeros, lengths = torch.zeros_like(frames), torch.tensor([4])
    assert float(composed(frames, zeros, lengths)["time"].total) == 9 + 35 + 4 + 8
    assert float(lagged(frames, zeros, lengths)["time"].total) == 9 + 35 + 12 + 80


def test_padding_of_any_value_does_not_change_loss():
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 6, 3), torch.randn(2, 6, 3)
    lengths = torch.tensor([6, 4])
    loss = SpectrogramLoss(SpectrogramLossSettings())
    before = loss(predicted, target, lengths)["spectrogram"].total
    predicted[1, 4:], target[1, 4:] = float("nan"), float("inf")
    torch.testing.assert_close(loss(predicted, target, lengths)["spectrogram"].total, before)


def test_negative_time_order_is_refused():
    with pytest.raises(ConfigError) as raised:
        SpectrogramLossSettings(time_order=-1)
    assert raised.value.key == "time_order"


def test_spoken_tokens_by_hand(tmp_path):
    """Steps of 100 ms, centred at 0.05, 0.15, ...; "the" has one token, "zebra" several, which divide its time."""
    lm = tiny_model(tmp_path).language_model
    whole = lm.tokenize(["the zebra"])[0][0].tolist()
    (the,) = lm.tokenize(["the"])[0][0].tolist()
    rest = whole[1:]
    assert whole[0] == the
    assert len(rest) > 1
    words = [Word("the", 0.1, 0.3), Word("zebra", 0.42, 0.42 + 0.2 * len(rest))]
    ids, said = frame_level_targets(lm, [words, []], 16, 10.0, ALIGNMENT_LOSSES["alignment"])
    expected = [None, the, the, None, *(token for token in rest for _ in range(2))]
    found = [int(token) if there else None for token, there in zip(ids[0], said[0], strict=True)]
    assert found == (expected + [None] * 16)[:16]
    assert not said[1].any()
    assert frame_level_targets(lm, [], 5, 10.0, ALIGNMENT_LOSSES["alignment"])[0].shape == (0, 5)


def test_spelt_letters_by_hand(tmp_path):
    """Steps of 100 ms, two per letter, centred at 0.05, 0.15, ...; "the" has the first 0.6 s, "ox" the last 0.2 s."""
    lm = tiny_model(tmp_path).language_model
    letters = {letter: int(lm.tokenize([letter])[0][0, -1]) for letter in "theox"}
    assert len(set(letters.values())) == 5
    words = [Word("the", 0.0, 0.6), Word("", 0.6, 0.7), Word("ox", 0.7, 0.9)]
    ids, said = frame_level_targets(lm, [words, [], [Word("", 0.0, 1.0)]], 10, 10.0, ALIGNMENT_LOSSES["spelling"])
    assert ids[0][said[0]].tolist() == [letters[letter] for letter in "tthheeox"]
    assert said[0].tolist() == [True] * 6 + [False] + [True] * 2 + [False]
    assert not said[1:].any()


def test_word_shorter_than_step_has_no_token(tmp_path):
    lm = tiny_model(tmp_path).language_model
    ids, said = frame_level_targets(
        lm, [[Word("is", 0.06, 0.14), Word("the", 0.14, 0.3)]], 3, 10.0, ALIGNMENT_LOSSES["alignment"]
    )
    assert said[0].tolist() == [False, True, True]
    assert lm.detokenize([ids[0, 1:].tolist()]) == ["the the"]


def test_end_of_word_belongs_to_its_last_token(tmp_path):
    """The step's centre, 0.05, is the last number before the word's end: the fraction of its time is rounded to 1."""
    lm = tiny_model(tmp_path).language_model
    end = torch.tensor(0.05).nextafter(torch.tensor(1.0)).item()
    ids, said = frame_level_targets(lm, [[Word("zebra", -1000.0, end)]], 1, 10.0, ALIGNMENT_LOSSES["alignment"])
    assert said.all()
    assert int(ids) == int(lm.tokenize(["zebra"])[0][0, -1])
