"""SpectronModel: batch against single rows, prefix attention, scheduled sampling, parts that do not fit each other."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_spectron import FAMILIES, ragged_batch, row, tiny_model, with_head

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError
from spectron.heads import LatentSamplingHead, MelRegressionHead, PreNetSettings
from spectron.language_models.driving import find_driver
from spectron.losses import ALIGNMENT_LOSSES
from spectron.segments import Stretch, read
from spectron.vocoders import GriffinLimVocoder, VocosSettings, VocosVocoder


def every_loss(model, batch):
    return model.losses(model(batch), ALIGNMENT_LOSSES)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_batch_are_those_of_its_rows(family, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    with torch.no_grad():
        whole, *rows = (every_loss(model, item) for item in (batch, *(row(batch, i) for i in range(3))))
    for name, term in whole.items():
        assert float(term.total) == pytest.approx(sum(float(r[name].total) for r in rows), rel=1e-4), name
        assert int(term.count) == sum(int(r[name].count) for r in rows), name


@pytest.mark.parametrize("kind", [MelRegressionHead, LatentSamplingHead])
def test_names_of_head_losses_are_known_before_any_data(kind, tmp_path):
    """Also in training mode, and without a change of the global random generator."""
    model = tiny_model(tmp_path).train()
    with_head(model, kind(model.language_model.hidden_size, mel=MelConfig(n_mels=20), frames_per_step=2))
    before = torch.get_rng_state()
    names = model.segments["speech"].loss_names()
    assert torch.equal(torch.get_rng_state(), before)
    text = model.segments["text"].loss_names()
    assert text == {"text", "text_accuracy"}
    assert text | names == every_loss(model, ragged_batch()).keys()
    assert text | names - {*ALIGNMENT_LOSSES} == model.losses(model(ragged_batch())).keys()
    assert ("flux" in names) == (kind is LatentSamplingHead)


@pytest.mark.parametrize("what", ALIGNMENT_LOSSES)
def test_alignment_losses_count_steps_within_known_words(what, tmp_path):
    """Steps of 50 ms whose middles lie in the words of the first row: 0.075 to 0.525, and 0.625 to 0.725."""
    model, batch = tiny_model(tmp_path), ragged_batch()
    with torch.no_grad():
        assert int(model.losses(model(batch), [what])[what].count) == 10 + 3
        batch.continuation_words = []
        unknown = model.losses(model(batch), [what])[what]
    assert (float(unknown.total), int(unknown.count), float(unknown.mean)) == (0.0, 0, 0.0)


@pytest.mark.parametrize(("attention", "sees_the_future"), [("causal", False), ("bidirectional", True)])
def test_prefix_attention_switch(attention, sees_the_future, tmp_path):
    model = tiny_model(tmp_path, attention=attention)
    inputs = torch.randn(1, 8, 32)
    changed = inputs.clone()
    changed[0, 4] += 1.0  # the last place of a prefix of 5
    valid = torch.ones(1, 8, dtype=torch.bool)
    both = model.segments["prompt"].bidirectional

    def read_all(places):
        stretches = Stretch(places[:, :5], valid[:, :5], bidirectional=both), Stretch(places[:, 5:], valid[:, 5:])
        return torch.cat(read(model.language_model, stretches), dim=1)

    with torch.no_grad():
        before, after = read_all(inputs), read_all(changed)
    assert bool((before[0, 0] - after[0, 0]).abs().max() > 1e-4) == sees_the_future
    later = inputs.clone()
    later[0, 6] += 1.0  # text never reaches back
    with torch.no_grad():
        torch.testing.assert_close(read_all(later)[0, :6], before[0, :6])


def spoken_after(model, batch, scheduled_sampling, past=None):
    """Return the hidden states of a training pass without dropout, after ``past`` frames if given."""
    model.sequence["speech"].scheduled_sampling, head = scheduled_sampling, model.head
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        true = head.targets(batch.continuation, batch.continuation_num_samples)
        if past is not None:
            patch.setattr(head, "targets", lambda waveform, num_samples: replace(true, steps=past))
        return model(batch).hidden["speech"]


@pytest.mark.parametrize("kind", [MelRegressionHead, LatentSamplingHead])
def test_scheduled_sampling_replaces_whole_rows_in_training(kind, tmp_path):
    model, batch = tiny_model(tmp_path), ragged_batch()
    settings = {"mel": MelConfig(n_mels=20), "frames_per_step": 4, "pre_net": PreNetSettings(dropout=0.0)}
    with_head(model, kind(model.language_model.hidden_size, **settings))
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
        "a row reads true or predicted frames, never both"
    )
    assert 0 < sum(ways["own"]) < 12


def test_scheduled_sampling_stops_gradients_of_predictions(tmp_path):
    model, batch = tiny_model(tmp_path).train(), ragged_batch()
    model.sequence["speech"].scheduled_sampling = 1.0
    kept = []
    step = model.head.step
    model.head.step = lambda hidden, random=None: (kept.append(step(hidden, random)), kept[-1])[1]
    model.losses(model(batch))["speech"].mean.backward()
    assert len(kept) == 1
    assert not kept[0][0].requires_grad
    assert all(parameter.grad is not None for parameter in model.head.pre_net.parameters())


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_scheduled_sampling_outside_0_to_1_is_refused(fraction, tmp_path):
    with pytest.raises(ConfigError) as raised:
        tiny_model(tmp_path, scheduled_sampling=fraction)
    assert raised.value.key == "scheduled_sampling"


def test_bidirectional_prefix_needs_a_model_that_looks_ahead(tmp_path, monkeypatch):
    causal = lambda lm, name: (find_driver(lm, name)[0], False)  # noqa: E731
    monkeypatch.setattr("spectron.language_models.causal.find_driver", causal)
    with pytest.raises(ConfigError) as raised:
        tiny_model(tmp_path)
    assert (raised.value.key, raised.value.allowed) == ("sequence.prompt_attention", ("causal",))
    assert not tiny_model(tmp_path, attention="causal").segments["prompt"].bidirectional


def test_vocoder_is_frozen(tmp_path):
    model = tiny_model(tmp_path, vocoder=partial(VocosVocoder, vocos=VocosSettings(width=8, layers=1, feedforward=8)))
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert not any(parameter.requires_grad for parameter in model.vocoder.parameters())


class OwnRate(GriffinLimVocoder):
    def __init__(self, mel):
        super().__init__(MelConfig(sample_rate_hz=22050, n_mels=20))


def test_vocoder_of_another_spectrogram_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="22050") as raised:
        tiny_model(tmp_path, vocoder=OwnRate)
    assert raised.value.key == "vocoder"


def test_forward_reads_no_value_from_the_device(tmp_path):
    """On the meta device there are no values to read: any ``item``, ``tolist`` or branch on a tensor would raise."""
    model, batch = tiny_model(tmp_path).train(), ragged_batch()
    model.sequence["speech"].scheduled_sampling = 0.5
    model.to("meta")
    for name in ("prompt", "prompt_num_samples", "continuation", "continuation_num_samples"):
        setattr(batch, name, getattr(batch, name).to("meta"))
    losses = every_loss(model, batch)
    sum(term.mean for term in losses.values()).backward()
    assert set(losses) >= {"text", "speech", *ALIGNMENT_LOSSES}
