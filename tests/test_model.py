"""The joined model: batch against single, prefix attention, parts that do not fit each other."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_spectron import FAMILIES, ragged_batch, row, tiny_model

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError, DataError
from spectron.heads import LatentSamplingHead, MelRegressionHead, PreNetSettings
from spectron.losses import ALIGNMENT_LOSSES
from spectron.vocoders import GriffinLimVocoder, VocosSettings, VocosVocoder


def every_loss(model, batch):
    predicted = model(batch)
    return {**model.losses(predicted), **model.alignment_losses(predicted, batch, ALIGNMENT_LOSSES)}


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_a_batch_are_those_of_its_rows(family, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    with torch.no_grad():
        whole, *rows = (every_loss(model, item) for item in (batch, *(row(batch, i) for i in range(3))))
    for name, term in whole.items():
        assert float(term.total) == pytest.approx(sum(float(r[name].total) for r in rows), rel=1e-4), name
        assert int(term.count) == sum(int(r[name].count) for r in rows), name


@pytest.mark.parametrize("kind", [MelRegressionHead, LatentSamplingHead])
def test_a_heads_losses_are_known_by_name_before_any_data(kind, tmp_path):
    """In training mode too, and without a number drawn from the generator that everything else draws from."""
    model = tiny_model(tmp_path).train()
    model.head = kind(model.language_model.hidden_size, mel=MelConfig(n_mels=20), frames_per_step=2)
    before = torch.get_rng_state()
    names = model.speech_loss_names()
    assert torch.equal(torch.get_rng_state(), before)
    assert {"text", *names} == model.losses(model(ragged_batch())).keys()
    assert ("flux" in names) == (kind is LatentSamplingHead)


@pytest.mark.parametrize("what", ALIGNMENT_LOSSES)
def test_what_is_said_is_counted_where_words_are_known(what, tmp_path):
    """Steps of 50 ms whose middles lie in the words of the first row: 0.075 to 0.525, and 0.625 to 0.725."""
    model, batch = tiny_model(tmp_path), ragged_batch()
    with torch.no_grad():
        predicted = model(batch)
        assert int(model.alignment_losses(predicted, batch, [what])[what].count) == 10 + 3
        batch.continuation_words = []
        unknown = model.alignment_losses(predicted, batch, [what])[what]
    assert (float(unknown.total), int(unknown.count), float(unknown.mean)) == (0.0, 0, 0.0)


@pytest.mark.parametrize(("attention", "sees_the_future"), [("causal", False), ("bidirectional", True)])
def test_prefix_attention_switch(attention, sees_the_future, tmp_path):
    model = tiny_model(tmp_path, attention=attention)
    inputs = torch.randn(1, 8, 32)
    changed = inputs.clone()
    changed[0, 4] += 1.0  # the last place of a prefix of 5
    valid = torch.ones(1, 8, dtype=torch.bool)
    with torch.no_grad():
        before, after = model.read(inputs, valid, 5), model.read(changed, valid, 5)
    assert bool((before[0, 0] - after[0, 0]).abs().max() > 1e-4) == sees_the_future
    later = inputs.clone()
    later[0, 6] += 1.0  # text never reaches back
    with torch.no_grad():
        torch.testing.assert_close(model.read(later, valid, 5)[0, :6], before[0, :6])


def spoken_after(model, batch, scheduled_sampling, past=None):
    """The hidden states of a training pass without dropout, after the given past frames where there are some."""
    model.scheduled_sampling, head = scheduled_sampling, model.head
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        true = head.targets(batch.continuation, batch.continuation_num_samples)
        if past is not None:
            patch.setattr(head, "targets", lambda waveform, num_samples: replace(true, steps=past))
        return model(batch).speech_hidden


@pytest.mark.parametrize("kind", [MelRegressionHead, LatentSamplingHead])
def test_in_training_the_past_may_be_what_the_model_makes_of_it(kind, tmp_path):
    model, batch = tiny_model(tmp_path), ragged_batch()
    model.head = kind(
        model.language_model.hidden_size,
        mel=MelConfig(n_mels=20),
        frames_per_step=4,
        pre_net=PreNetSettings(dropout=0.0),
    )
    plain = spoken_after(model, batch, 0.0)
    torch.testing.assert_close(
        spoken_after(model, batch, 1.0), plain, rtol=0, atol=0, msg="validation keeps the true past"
    )
    model.training = True  # its parts stay as they are, without dropout
    with torch.no_grad():
        own = torch.stack([model.head.step(step)[0] for step in plain.unbind(1)], 1)
    expected = spoken_after(model, batch, 0.0, own)
    assert (expected - plain).abs().max() > 1e-3
    torch.testing.assert_close(spoken_after(model, batch, 1.0), expected, atol=1e-5, rtol=1e-5)
    torch.manual_seed(1)
    drawn = [spoken_after(model, batch, 0.5)[0] for _ in range(12)]
    ways = {
        way: [torch.allclose(row, hidden[0], atol=1e-5) for row in drawn]
        for way, hidden in (("true", plain), ("own", expected))
    }
    assert all(true != own for true, own in zip(*ways.values(), strict=True)), (
        "a row is the one or the other, as a whole"
    )
    assert 0 < sum(ways["own"]) < 12


def test_no_gradient_goes_through_the_models_own_past(tmp_path):
    model, batch = tiny_model(tmp_path).train(), ragged_batch()
    model.scheduled_sampling = 1.0
    kept = []
    step = model.head.step
    model.head.step = lambda hidden, random=None: (kept.append(step(hidden, random)), kept[-1])[1]
    model.losses(model(batch))["speech"].mean.backward()
    assert len(kept) == 1
    assert not kept[0][0].requires_grad
    assert all(parameter.grad is not None for parameter in model.head.pre_net.parameters())


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_an_own_past_that_is_no_share_is_refused(share, tmp_path):
    with pytest.raises(ConfigError, match=f"^scheduled_sampling: a share from 0 to 1, not {share}"):
        tiny_model(tmp_path, scheduled_sampling=share)


def test_a_sequence_beyond_the_positions_is_refused(tmp_path):
    model = tiny_model(tmp_path, max_position_embeddings=40)
    with pytest.raises(DataError, match="does not fit the language model's 40"):
        model(ragged_batch())


def test_the_vocoder_is_frozen(tmp_path):
    model = tiny_model(tmp_path, vocoder=partial(VocosVocoder, vocos=VocosSettings(width=8, layers=1, feedforward=8)))
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert not any(parameter.requires_grad for parameter in model.vocoder.parameters())


class OwnRate(GriffinLimVocoder):
    def __init__(self, mel):
        super().__init__(MelConfig(sample_rate_hz=22050, n_mels=20))


class NoArgument(GriffinLimVocoder):
    def __init__(self):
        super().__init__(MelConfig())


@pytest.mark.parametrize(
    ("vocoder", "said"),
    [(OwnRate, "^vocoder: OwnRate inverts .*22050"), (NoArgument, "^vocoder: its class has to take")],
)
def test_a_vocoder_of_another_spectrogram_is_refused(tmp_path, vocoder, said):
    with pytest.raises(ConfigError, match=said):
        tiny_model(tmp_path, vocoder=vocoder)


class Shortened(GriffinLimVocoder):
    """Cuts what is given back; ``keep`` says how much of waveform and count is left."""

    def __init__(self, mel, keep):
        super().__init__(mel, iterations=1)
        self.keep = keep

    def forward(self, mel, num_frames):
        return self.keep(*super().forward(mel, num_frames))


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (
            lambda wave, count: (wave[:, :-1], count),
            r"makes 2399 samples of 12 frames and counts \[2400, 1400\] .* Make mel.hop_samples=200 of",
        ),
        (
            lambda wave, count: (wave[:, ::2], count // 2),
            r"counts \[1200, 700\] .* last \[2400, 1400\]: .* too short. Make mel.hop_samples=200 of",
        ),
        (
            lambda wave, count: (wave, count * 0.5),
            r"gives .* \(2,\) of torch.float32 for 2 rows of frames. Return waveform \(B, S\) and whole",
        ),
        (lambda wave, count: wave, r"gives a Tensor. Return the pair waveform"),
    ],
)
def test_a_vocoder_that_does_not_speak_as_long_as_its_frames_is_refused_when_built(tmp_path, keep, said):
    with pytest.raises(ConfigError, match=f"^vocoder: Shortened: forward {said}"):
        tiny_model(tmp_path, vocoder=partial(Shortened, keep=keep))
    tiny_model(
        tmp_path, vocoder=partial(Shortened, keep=lambda wave, count: (wave[:, :-399], count - 399))
    )  # less than two hops


def test_a_loss_without_its_whole_is_told(tmp_path, monkeypatch):
    model = tiny_model(tmp_path)
    monkeypatch.setattr(model.head, "loss", lambda hidden, targets: {"frames": None})
    with pytest.raises(ConfigError, match=r"^model\.head: .*gives frames and no `speech`"):
        model.losses(model(ragged_batch()))
