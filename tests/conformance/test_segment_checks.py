"""Checks of segments: each fails for the segment that breaks its rule."""

import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from tiny_spectron import tiny_model

from spectron.batch import LossTerm
from spectron.conformance import examine
from spectron.segments import Context, Positions, Speech, Stretch, Text


class Sound(Context):
    """Segment that obeys every rule: one position with the power of the prompt."""

    def given(self, prompts):
        inside = torch.arange(prompts.waveform.shape[1]) < prompts.num_samples[:, None]
        power = (prompts.waveform * inside).square().sum(1) / prompts.num_samples.clamp(min=1)
        embeddings = power[:, None, None].expand(-1, 1, self.parts.language_model.hidden_size)
        return Stretch(embeddings, torch.ones_like(embeddings[..., 0], dtype=torch.bool))

    def positions(self, length, decoding=None):
        return Positions(1)


class Narrow(Sound):
    def given(self, prompts):
        stretch = super().given(prompts)
        return replace(stretch, embeddings=stretch.embeddings[..., 1:])


class Numbers(Sound):
    def given(self, prompts):
        stretch = super().given(prompts)
        return replace(stretch, valid=stretch.valid.float())


class Unmasked(Sound):
    def given(self, prompts):
        stretch = super().given(prompts)
        return replace(stretch, embeddings=stretch.embeddings + prompts.waveform.square().mean(1)[:, None, None])


class Centred(Sound):
    def given(self, prompts):
        stretch = super().given(prompts)
        return replace(stretch, embeddings=stretch.embeddings - stretch.embeddings.mean(0))


class Crowded(Sound):
    def positions(self, length, decoding=None):
        return Positions(0)


class Endless(Text):
    def positions(self, length, decoding=None):
        return super().positions(length) if decoding is None else Positions(1)


class Unnamed(Text):
    def loss_names(self):
        return {"text"}


class Untrained(Text):
    trained_losses = ("txet",)


class PaddedLoss(Text):
    def losses(self, stretch, hidden, optional=()):
        return super().losses(stretch, hidden) | {"text": LossTerm(hidden.square().sum(), stretch.valid.sum())}


class MeanLoss(Text):
    def losses(self, stretch, hidden, optional=()):
        terms = super().losses(stretch, hidden)
        return terms | {"text": LossTerm(terms["text"].mean, torch.tensor(1))}


class FewPlaces(Text):
    def places(self, stretch, hidden, optional=()):
        found = super().places(stretch, hidden, optional)
        return replace(found, rows=[row[1:] for row in found.rows])


class PlacesOfOthers(Text):
    def places(self, stretch, hidden, optional=()):
        found = super().places(stretch, hidden, optional)
        return replace(found, losses={"text": found.losses["text"] / 2})


class OneScore(Text):
    def scores(self, stretch, hidden):
        scores = super().scores(stretch, hidden)
        return scores | {"text_nats": scores["text_nats"].mean().expand_as(scores["text_nats"])}


class Padded(Text):
    def decode(self, state, prompts, decoding):
        stretch = self.stretch("before", [before for before, _ in prompts.texts])
        state.extend(stretch.embeddings, torch.ones_like(stretch.valid))


class Noisy(Speech):
    def decode(self, state, prompts, decoding):
        super().decode(state, prompts, decoding)
        state.speech.content = state.speech.content + torch.randn_like(state.speech.content)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a function that examines a class of segments once."""
    parts = tiny_model(tmp_path_factory.mktemp("parts")).parts

    @cache
    def examined(kind):
        torch.manual_seed(0)
        return {result.name: result for result in examine(kind(parts), lambda: kind(parts), seconds=0.1)}

    return examined


@pytest.mark.parametrize("kind", [Sound, Text, Speech])
def test_sound_segment_passes(kind, results):
    assert not {name: result.detail for name, result in results(kind).items() if result.passed is False}


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (Narrow, "shapes", r"embeddings \(3, 1, 31\) for 3 rows: return \(B, L, D\)"),
        (Numbers, "shapes", "valid is .* of torch.float32"),
        (Unnamed, "shapes", "losses computes text, text_accuracy, but loss_names returns text"),
        (Untrained, "shapes", "names txet, which losses does not compute"),
        (
            FewPlaces,
            "batch against single",
            r"places describes \[.*\] positions of the rows: return 3 lists",
        ),
        (PlacesOfOthers, "batch against single", "the loss text of all places is not its total"),
        (Crowded, "positions", "forward takes 1 positions, but positions returns 0"),
        (Endless, "positions", "decode takes . positions, but positions returns 1"),
        (Unmasked, "padding", "noise in the padding of a recording changes valid inputs"),
        (PaddedLoss, "padding", "positions that are not valid change the loss text"),
        (Centred, "batch against single", r"row \d has other inputs in a batch than alone"),
        (MeanLoss, "batch against single", "the rows' losses text do not add up"),
        (OneScore, "batch against single", "row 0 has another text_nats in a batch"),
        (Padded, "decoding", "append no padding as valid"),
        (Noisy, "decoding", "speaks other frames in a batch than alone"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_broken_segment_fails_the_check_of_its_rule(kind, check, seen, results):
    found = results(kind)[check]
    assert found.passed is False
    assert re.search(seen, found.detail), found.detail
