"""Sequences: own segments in training, decoding, scores and context length, and settings that do not fit."""

import pytest
import torch
from talker import TALKER
from tiny_spectron import ragged_batch, tiny_model
from torch import nn

from spectron.batch import LossTerm, SpokenLength
from spectron.context_length import need_of
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment
from spectron.segments import Context, Positions, Segment, SequenceSettings, Speech, Stretch
from spectron.training.spectron import LossWeights, SpectronModule

DECODING = Decoding(max_text_tokens=4, max_seconds=0.2)


class Marker(Context):
    """One position, the same for every prompt."""

    def __init__(self, parts, size=1.0):
        super().__init__(parts)
        self.weight = nn.Parameter(torch.full((1, 1, parts.language_model.hidden_size), size))

    def given(self, prompts):
        rows = len(prompts.ids)
        return Stretch(self.weight.expand(rows, 1, -1), torch.ones(rows, 1, dtype=torch.bool))

    def positions(self, length, decoding=None):
        return Positions(1)


class Graded(Marker):
    """Marker with a loss of its own, and a loss that only some training asks for."""

    trained_losses = ("grade",)
    optional_losses = ("rare",)

    def losses(self, stretch, hidden, optional=()):
        term = LossTerm(hidden.square().sum(), stretch.valid.sum())
        return {"grade": term} | ({"rare": term} if "rare" in optional else {})

    def loss_names(self):
        return {"grade", "rare"}


class Silent(Segment):
    """Segment at the place of the speech that says nothing."""

    def forward(self, batch):
        rows, width = len(batch.ids), self.parts.language_model.hidden_size
        return Stretch(torch.zeros(rows, 0, width), torch.zeros(rows, 0, dtype=torch.bool))

    def decode(self, state, prompts, decoding):
        pass

    def positions(self, length, decoding=None):
        return Positions(0)


def with_sequence(folder, **settings):
    """Return a tiny model with another sequence."""
    return tiny_model(folder, sequence=SequenceSettings(text_separator=" | ", **settings))


def test_context_segment_changes_text_and_speech(tmp_path):
    batch = ragged_batch()
    plain, marked = with_sequence(tmp_path), with_sequence(tmp_path, context={"mark": Marker})
    marked.load_state_dict(plain.state_dict(), strict=False)
    assert list(marked.segments) == ["prompt", "mark", "text", "speech"]
    with torch.no_grad():
        before, after = plain(batch).hidden, marked(batch).hidden
    torch.testing.assert_close(after["prompt"], before["prompt"])
    assert (after["speech"] - before["speech"]).abs().max() > 1e-3
    said = [model.continue_speech(batch.prompts, DECODING) for model in (plain, marked)]
    assert not torch.equal(said[0].mel, said[1].mel)
    assert list(said[1].timings) == ["prompt", "mark", "text", "speech", "vocode"]
    length = SpokenLength("u", 1.0, 1.0, ("a", "b"))
    assert need_of(marked, length).positions == need_of(plain, length).positions + 1


def test_prompt_features_depend_on_no_later_segment(tmp_path):
    model, batch = with_sequence(tmp_path, context={"mark": Marker}), ragged_batch()
    with torch.no_grad():
        before = model(batch).hidden["prompt"]
        model.segments["mark"].weight += 1.0
        assert torch.equal(model(batch).hidden["prompt"], before)


def test_losses_of_one_name_are_added(tmp_path):
    model, batch = with_sequence(tmp_path, context={"one": Graded, "two": Graded}), ragged_batch()
    with torch.no_grad():
        predicted = model(batch)
        both = model.losses(predicted, ["rare"])
    each = [predicted.hidden[name].square().sum() for name in ("one", "two")]
    torch.testing.assert_close(both["grade"].total, sum(each))
    assert (int(both["grade"].count), int(both["rare"].count)) == (6, 6)


def test_own_loss_is_trained_with_its_weight(tmp_path):
    model = with_sequence(tmp_path)
    weights = LossWeights(text=0.0, speech=0.0, others={"grade": 3.0, "rare": 0.0})
    net = SpectronModule(
        loss_weights=weights,
        encoder=model.encoder,
        language_model=model.language_model,
        head=lambda size: model.head,
        vocoder=lambda given: model.vocoder,
        sequence=SequenceSettings(context={"mark": Graded}),
    )
    terms = net.loss_terms(ragged_batch())
    assert "rare" not in terms, "a loss of weight 0 that is optional is not computed"
    total = net.total({name: term.mean for name, term in terms.items()})
    assert float(total.detach()) == pytest.approx(3 * float(terms["grade"].mean.detach()))
    assert {"val/grade", "val/rare"} <= net.measure_names()
    net.loss_weights.others = {}
    assert "rare" in net.loss_terms(ragged_batch())


@pytest.mark.parametrize("kind", ["empty", "filler", "none"])
def test_text_without_words_has_no_score(kind, tmp_path):
    model = with_sequence(tmp_path, text=kind)
    scores = model.score_speech(ragged_batch())
    assert scores.text_tokens.tolist() == scores.text_nats.tolist() == [0.0, 0.0, 0.0]
    assert float(scores.speech_loss[0]) > 0
    assert not model.writes_text(Decoding())


def test_sequence_without_text_has_no_text_loss(tmp_path):
    model = with_sequence(tmp_path, text="none")
    assert not {"text", "text_accuracy"} & model.losses(model(ragged_batch())).keys()
    assert model.segments["text"].loss_names() == set()


def test_prompt_that_needs_no_encoder_trains_and_speaks(tmp_path):
    """Prompts then have the sample rate of the speech."""
    model, batch = tiny_model(tmp_path, encoder=None, sequence=SequenceSettings(prompt=Marker)), ragged_batch()
    assert model.losses(model(batch))["speech"].total.isfinite()
    assert model.continue_speech(batch.prompts, DECODING).num_samples.tolist() == [3200] * 3
    assert (model.prompt_rate_hz, "encoder" in dict(model.named_children())) == (16000, False)
    with pytest.raises(ConfigError) as raised:
        tiny_model(tmp_path, encoder=None)
    assert raised.value.key == "sequence.prompt"


def test_sequence_in_which_nothing_speaks_is_refused_in_decoding(tmp_path):
    model = with_sequence(tmp_path, speech=Silent)
    with pytest.raises(ConfigError) as raised:
        model.continue_speech(ragged_batch().prompts, DECODING)
    assert raised.value.key == "sequence"


def test_context_with_a_taken_name_is_refused(tmp_path):
    with pytest.raises(ConfigError) as raised:
        with_sequence(tmp_path, context={"speech": Marker})
    assert raised.value.key == "sequence.context"


def test_segments_add_no_tensor_of_the_shared_parts(tmp_path):
    """The parts have one name each, so that they can be frozen, exported and loaded under it."""
    names = {name for name, _ in tiny_model(tmp_path).sequence.named_parameters()}
    assert names == {"prompt.project.weight", "prompt.project.bias"}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Return a function that reads an experiment with overrides."""
    (tmp_path / "text.txt").write_text("the cow says moo\nparis\n" * 20)
    (tmp_path / "talker.yaml").write_text(TALKER)
    code = [
        "import torch\nfrom spectron.segments import *\n",
        "class Louder(Speech):\n    def __init__(self, parts, gain: float = 1.0):\n",
        "        super().__init__(parts)\n        self.gain = gain\n",
        "class Crooked(Louder):\n    def forward(self, batch):\n        stretch = super().forward(batch)\n",
        "        return Stretch(stretch.embeddings[..., 1:], stretch.valid)\n",
    ]
    (tmp_path / "own.py").write_text("".join(code))
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: Experiment.read(tmp_path / "talker.yaml", list(overrides), model_only=True)


def test_own_segment_is_named_by_its_class(experiment):
    louder = experiment("model.sequence.speech.class_path=own.py:Louder", "model.sequence.speech.init_args.gain=2.5")
    speech = louder.build().model.segments["speech"]
    assert isinstance(speech, Speech)
    assert (type(speech).__name__, speech.gain) == ("Louder", 2.5)


@pytest.mark.parametrize(
    ("override", "key", "allowed"),
    [
        ("model.sequence.text=fillr", "model.sequence.text", "filler"),
        ("model.sequence.promt=features", "model.sequence.promt", "prompt"),
        ("model.sequence.speech.class_path=own.Louder.Nothing", "model.sequence.speech.class_path", None),
        ("model.sequence.speech.class_path=own.py:Parts", "model.sequence.speech.class_path", None),
        ("model.sequence.scheduled_sampling=2", "model.sequence.scheduled_sampling", None),
    ],
)
def test_sequence_that_cannot_be_is_refused_with_its_key(override, key, allowed, experiment):
    with pytest.raises(ConfigError) as raised:
        experiment(override).build()
    assert raised.value.key == key
    assert raised.value.origin == "the command line"
    assert allowed is None or allowed in raised.value.allowed


def test_own_segment_of_a_wrong_width_is_refused_when_built(experiment):
    crooked = experiment("model.sequence.speech.class_path=own.py:Crooked")
    with pytest.raises(ConfigError, match="return \\(B, L, D\\)") as raised:
        crooked.build()
    assert raised.value.key == "model.sequence.speech"
