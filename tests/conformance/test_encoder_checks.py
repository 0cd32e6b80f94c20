"""Checks of encoders: each fails for the encoder that breaks its rule."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from spectron.conformance import examine, malformed
from spectron.contracts import SpeechEncoder
from spectron.errors import ConfigError


class Sound(SpeechEncoder):
    """Encoder that obeys every rule: 40 ms of waveform through one layer."""

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
    """Counts as many steps for every row as for the longest."""

    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features, num_steps.max().expand_as(num_steps)


class ForgetsLengths(Sound):
    """Counts as many steps for every row as for the longest, and states its rate."""

    def __init__(self):
        super().__init__()
        self.output_dim, self.frame_rate_hz = 8, 25.0

    def forward(self, waveform, num_samples):
        features, num_steps = super().forward(waveform, num_samples)
        return features, num_steps.max().expand_as(num_steps)


class WrongRate(Sound):
    """States width and a wrong rate, so that nothing is measured."""

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
    """Transposed, with more features than steps, so that no length is too long."""

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


def results(kind):
    seeds = iter((1, 2))

    def build():
        torch.manual_seed(next(seeds))
        return kind()

    return {result.name: result for result in examine(build(), build, seconds=0.2)}


def test_sound_encoder_passes_and_reports_measurements():
    found = results(Sound)
    assert [result.passed for result in found.values()] == [True] * 9
    assert found["shapes"].detail == "3 x 16000 samples -> 3 x 25 x 8, 16000 Hz -> 25 features/s of 8"
    assert found["lengths"].detail.endswith("25 (25.0), 17 (16.7), 5 (5.0)")
    assert found["short audio"].detail == "steps of 0, 1 and 80 samples: [0, 1, 1]"
    assert found["gradient or frozen"].detail == "5,128 trainable, 0 frozen"
    assert "x real time" in found["speed"].detail


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (Single, "shapes", r"returns a tensor \(3, 25, 8\) of torch.float32. Return the pair"),
        (Flat, "shapes", r"returns features a tensor \(75, 8\).*Return the pair"),
        (FloatLengths, "shapes", r"num_steps a tensor \(3\) of torch.float32. Count whole steps"),
        (TooLong, "shapes", r"\[28, 20, 8\] valid steps of 25"),
        (WrongWidth, "shapes", "output_dim is 9, but its features are 8 wide"),
        (
            WrongRate,
            "shapes",
            r"WrongRate sets frame_rate_hz to 50, but returns 25 steps per second\. Remove the attribute",
        ),
        (
            WrongRateAlone,
            "shapes",
            r"WrongRateAlone sets frame_rate_hz to 50, but returns 25 steps per second\. Remove the attribute",
        ),
        (Transposed, "shapes", r"a tensor \(3, 8, 25\).*look transposed: return \(recordings, steps, width\)"),
        (
            TransposedWide,
            "shapes",
            r"\(1, 200, 25\) of torch.float32 for 1 s and a tensor \(1, 200, 125\).*look transposed",
        ),
        (TransposedAndStated, "shapes", r"a tensor \(3, 200, 25\).*look transposed"),
        (NoRate, "shapes", "sets no sample_rate_hz. Set self.sample_rate_hz"),
        (NotSetUp, "set up", r"does not call super\(\)\.__init__\(\)"),
        (NotANumber, "shapes", "NaN or infinite"),
        (OneLength, "lengths", r"25 \(25\.0\), 25 \(16\.7\), 25 \(5\.0\)\. Count num_steps"),
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
def test_broken_encoder_fails_the_check_of_its_rule(kind, check, seen):
    found = results(kind)
    assert found[check].passed is False
    assert re.search(seen, found[check].detail), found[check].detail


def test_wrong_shapes_skip_all_other_checks():
    found = results(Single)
    assert found.pop("shapes").passed is False
    assert {result.passed for result in found.values()} == {None}


def test_frozen_encoder_is_reported():
    encoder = Sound().requires_grad_(False)
    found = {result.name: result for result in examine(encoder, Sound, seconds=0.2)}
    assert found["gradient or frozen"].detail == "frozen: 5,128 parameters"


def test_half_precision_gets_larger_tolerance():
    class Half(Sound):
        def __init__(self):
            super().__init__()
            self.layer.bfloat16()

        def forward(self, waveform, num_samples):
            return super().forward(waveform.bfloat16(), num_samples)

    assert all(result.passed for result in results(Half).values())


def test_uncounted_last_step_is_questioned():
    class LeavesOneOut(Sound):
        def forward(self, waveform, num_samples):
            features, num_steps = super().forward(waveform, num_samples)
            return features, (num_steps - 1).clamp(min=0)

    assert results(LeavesOneOut)["lengths"].detail.endswith(
        "; the longest row has 25 steps, of which 1 are not counted: is that intended?"
    )
    assert "is that intended" not in results(Sound)["lengths"].detail


@pytest.mark.parametrize(
    ("kind", "seen"),
    [(Single, "Return the pair"), (WrongWidth, "output_dim is 9"), (ForgetsLengths, "Count num_steps"), (Sound, None)],
)
def test_new_encoder_is_examined_for_shapes_and_lengths(kind, seen):
    """Modes and random generators are left as they were."""
    encoder, state = kind().train(), torch.get_rng_state()
    encoder.layer.eval()
    found = malformed(encoder)
    assert found is None if seen is None else seen in found
    assert (encoder.training, encoder.layer.training) == (True, False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("kind", "seen"), [(Single, "Return the pair"), (NoRate, "sets no sample_rate_hz")])
def test_width_of_broken_encoder_is_refused(kind, seen):
    with pytest.raises(ConfigError, match=seen) as raised:
        _ = kind().output_dim
    assert raised.value.key == "encoder"


def test_stated_attributes_survive_measuring():
    encoder = WrongRateAlone()
    assert (encoder.output_dim, encoder.frame_rate_hz) == (8, 50.0)
    assert Sound().frame_rate_hz == 25.0
