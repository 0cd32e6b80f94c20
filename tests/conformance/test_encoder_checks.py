"""Every check of an encoder fails for the encoder that breaks its rule, and for no other rule's sake."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from spectron.conformance import examine
from spectron.contracts import SpeechEncoder


class Sound(SpeechEncoder):
    """40 ms of waveform through one layer; keeps every rule."""

    def __init__(self):
        super().__init__()
        self.sample_rate_hz = 16000
        self.layer = nn.Linear(640, 8)

    def forward(self, waveform, num_samples):
        inside = torch.arange(waveform.shape[1]) < num_samples[:, None]
        waveform = functional.pad(waveform * inside, (0, -waveform.shape[1] % 640))
        return self.layer(waveform.unflatten(1, (-1, 640))), -(-num_samples // 640)


class Single(Sound):
    def forward(self, waveform, num_samples):
        return super().forward(waveform, num_samples)[0]


class Flat(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features.flatten(0, 1), num_steps


class FloatLengths(Sound):
    def forward(self, waveform, num_samples):
        features, _ = super().forward(waveform, num_samples)
        return features, num_samples / 640


class TooLong(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features, num_steps + 3


class WrongWidth(Sound):
    def __init__(self):
        super().__init__()
        self.output_dim, self.frame_rate_hz = 9, 25


class NoRate(Sound):
    def __init__(self):
        super().__init__()
        del self.sample_rate_hz


class NotSetUp(SpeechEncoder):
    def __init__(self):
        self.sample_rate_hz = 16000

    def forward(self, waveform, num_samples):
        return waveform[..., None], num_samples


class NotANumber(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features / 0, num_steps


class OneLength(Sound):
    """Every row is as long as the longest."""

    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features, num_steps.max().expand_as(num_steps)


class ForgetsLengths(Sound):
    """The same, of an encoder that says its own rate."""

    def __init__(self):
        super().__init__()
        self.output_dim, self.frame_rate_hz = 8, 25.0

    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features, num_steps.max().expand_as(num_steps)


class WrongRate(Sound):
    """States rate and width, so that nothing has to be found out."""

    def __init__(self):
        super().__init__()
        self.output_dim, self.frame_rate_hz = 8, 50.0


class WrongRateAlone(Sound):
    def __init__(self):
        super().__init__()
        self.frame_rate_hz = 50.0


class Transposed(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features.transpose(1, 2), num_steps


class TransposedWide(Transposed):
    """More features than steps, so that no length is too long."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(640, 200)


class TransposedAndStated(TransposedWide):
    def __init__(self):
        super().__init__()
        self.output_dim = 200


class LeaksPadding(Sound):
    def forward(self, waveform, num_samples):
        waveform = functional.pad(waveform, (0, -waveform.shape[1] % 640))
        return self.layer(waveform.unflatten(1, (-1, 640))), -(-num_samples // 640)


class MixesRows(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features - features.mean(0, keepdim=True), num_steps


class NoEmptyRow(Sound):
    def forward(self, waveform, num_samples):
        if (num_samples == 0).any():
            raise IndexError("index out of range in self")
        return super().forward(waveform, num_samples)


class Detached(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features.detach(), num_steps


class HalfReached(Sound):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(640, 8)


class RandomInEval(Sound):
    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return functional.dropout(features, 0.5), num_steps


class Unregistered(Sound):
    def __init__(self):
        super().__init__()
        self.hidden_layers = [nn.Linear(8, 8)]

    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return self.hidden_layers[0](features), num_steps


def verdicts(kind):
    seeds = iter((1, 2))

    def build():
        torch.manual_seed(next(seeds))
        return kind()

    return {verdict.name: verdict for verdict in examine(build(), build, seconds=0.2)}


def test_a_sound_encoder_passes_and_says_what_was_measured():
    found = verdicts(Sound)
    assert [verdict.passed for verdict in found.values()] == [True] * 9
    assert found["shapes"].detail == "3 x 16000 samples -> 3 x 25 x 8, 16000 Hz -> 25 features/s of 8"
    assert found["lengths"].detail.endswith("25 (25.0), 17 (16.7), 5 (5.0)")
    assert found["short audio"].detail == "steps of 0, 1 and 80 samples: [0, 1, 1]"
    assert found["gradient or frozen"].detail == "5,128 trainable, 0 frozen"
    assert "x real time" in found["speed"].detail


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (Single, "shapes", r"gives a tensor \(3, 25, 8\) of torch.float32. Return the pair"),
        (Flat, "shapes", r"gives features a tensor \(75, 8\).*Return the pair"),
        (FloatLengths, "shapes", r"num_steps a tensor \(3\) of torch.float32. Count whole steps"),
        (TooLong, "shapes", r"\[28, 20, 8\] valid steps of 25"),
        (WrongWidth, "shapes", "output_dim is 9, and its features are 8 wide"),
        (
            WrongRate,
            "shapes",
            r"WrongRate sets frame_rate_hz to 50, and its steps come at 25 a second\. Remove the attribute",
        ),
        (
            WrongRateAlone,
            "shapes",
            r"WrongRateAlone sets frame_rate_hz to 50, and its steps come at 25 a second\. Remove the attribute",
        ),
        (Transposed, "shapes", r"a tensor \(3, 8, 25\).*look transposed: give \(recordings, steps, width\)"),
        (
            TransposedWide,
            "shapes",
            r"\(1, 200, 25\) of torch.float32 for a second and a tensor \(2, 200, 75\).*look transposed",
        ),
        (TransposedAndStated, "shapes", r"a tensor \(3, 200, 25\).*look transposed"),
        (NoRate, "shapes", "sets no sample_rate_hz. Set self.sample_rate_hz"),
        (NotSetUp, "set up", r"does not call super\(\)\.__init__\(\)"),
        (NotANumber, "shapes", "NaN or infinite"),
        (OneLength, "shapes", r"1 and 3 s of audio make \[75, 75\] steps. Count num_steps"),
        (ForgetsLengths, "lengths", r"25 \(25\.0\), 25 \(16\.7\), 25 \(5\.0\)\. Count num_steps"),
        (LeaksPadding, "padding", r"mask the waveform.*differ by up to"),
        (MixesRows, "batch against single", "row 0 has other features in a batch"),
        (
            NoEmptyRow,
            "short audio",
            r"\[8000, 0, 1, 80\] samples cannot be encoded \(IndexError: index out of range.*pad the waveform",
        ),
        (Detached, "gradient or frozen", "no gradient reaches them"),
        (HalfReached, "gradient or frozen", r"reaches 5,128 of 10,256.*unused\.weight"),
        (RandomInEval, "determinism in eval", "two runs in eval mode differ"),
        (Unregistered, "state dict round trip", "Register every tensor"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_an_encoder_that_breaks_a_rule_fails_its_check(kind, check, seen):
    found = verdicts(kind)
    assert found[check].passed is False
    assert re.search(seen, found[check].detail), found[check].detail


def test_where_shapes_are_wrong_nothing_else_is_tried():
    found = verdicts(Single)
    assert found.pop("shapes").passed is False
    assert {verdict.passed for verdict in found.values()} == {None}


def test_a_frozen_encoder_is_told():
    encoder = Sound().requires_grad_(False)
    found = {verdict.name: verdict for verdict in examine(encoder, Sound, seconds=0.2)}
    assert found["gradient or frozen"].detail == "frozen: 5,128 parameters"


def test_types_of_half_precision_are_held_to_their_own_rounding():
    class Half(Sound):
        def __init__(self):
            super().__init__()
            self.layer.bfloat16()

        def forward(self, waveform, num_samples):
            return super().forward(waveform.bfloat16(), num_samples)

    assert all(verdict.passed for verdict in verdicts(Half).values())


def test_a_last_step_that_is_not_counted_is_asked_about():
    class LeavesOneOut(Sound):
        def forward(self, waveform, num_samples):
            features, num_steps = super().forward(waveform, num_samples)
            return features, (num_steps - 1).clamp(min=0)

    assert verdicts(LeavesOneOut)["lengths"].detail.endswith(
        "; 25 steps are made of the longest, and 1 of them not counted: is that meant?"
    )
    assert "is that meant" not in verdicts(Sound)["lengths"].detail
