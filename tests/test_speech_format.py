"""Speech formats: a head and a vocoder of units instead of a mel, through training, decoding and evaluation."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from prompts import syllables
from tiny_spectron import ragged_batch, tiny_model
from torch import nn

from spectron.audio.mel import MelConfig, padding_mask
from spectron.audio.speech_format import SpeechFormat
from spectron.batch import LossTerm, SpeechTargets, with_reference
from spectron.conformance import examine
from spectron.contracts import SpeechHead, Vocoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.evaluation.systems.answering import answer
from spectron.evaluation.systems.baselines import as_system, recordings
from spectron.heads import MelRegressionHead
from spectron.inference.speaker import Recording, Speaker
from spectron.vocoders import GriffinLimVocoder

RATE, HOP = 16000, 400
CPU = torch.device("cpu")


@dataclass
class Levels(SpeechFormat):
    """Loudness of every 25 ms in a few steps."""

    vocabulary: int = 8
    sample_rate_hz: int = RATE

    @property
    def frame_rate_hz(self):
        return RATE / HOP

    def num_frames(self, num_samples):
        return -(-num_samples // HOP)

    def example(self, waveform, num_samples):
        padded = waveform.masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        padded = nn.functional.pad(padded, (0, -waveform.shape[1] % HOP))
        levels = padded.unflatten(1, (-1, HOP)).abs().mean(2) * 10 * self.vocabulary
        return levels.long().clamp(max=self.vocabulary - 1), self.num_frames(num_samples)


class LevelHead(SpeechHead):
    """Head that predicts the next level by cross-entropy; one more class stops."""

    def __init__(self, hidden_size, vocabulary=8):
        super().__init__()
        self.format, self.frames_per_step = Levels(vocabulary), 1
        self.table, self.out = nn.Embedding(vocabulary, hidden_size), nn.Linear(hidden_size, vocabulary + 1)

    def targets(self, waveform, num_samples):
        levels, num_frames = self.format.example(waveform, num_samples)
        return SpeechTargets(levels[..., None], num_frames, num_frames)

    def embed(self, steps, random=None):
        return self.table(steps[..., 0])

    def loss(self, hidden, targets):
        valid = ~padding_mask(targets.num_steps, hidden.shape[1])
        logits = self.out(hidden)[..., :-1].transpose(1, 2)
        losses = nn.functional.cross_entropy(logits, targets.steps[..., 0], reduction="none")
        stops = self.out(hidden)[..., -1].square()
        return {"speech": LossTerm(((losses + stops) * valid).sum(), valid.sum())}

    def step(self, hidden, random=None, past=(), may_stop=None):
        logits = self.out(hidden)
        return logits[:, :-1].argmax(-1)[:, None], logits[:, -1].sigmoid()

    def vocoder_input(self, steps, num_steps):
        return steps[..., 0], num_steps


class LevelVocoder(Vocoder):
    """Vocoder of a tone as loud as the levels."""

    takes = Levels

    def forward(self, frames, num_frames):
        frames = frames.masked_fill(padding_mask(num_frames, frames.shape[1]), 0)
        return frames.repeat_interleave(HOP, dim=1) / 100, num_frames * HOP


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path, head=LevelHead, vocoder=LevelVocoder)


def test_head_and_vocoder_of_another_format_obey_their_contracts():
    torch.manual_seed(0)
    for build in (partial(LevelHead, 16), lambda: LevelVocoder(Levels())):
        failed = [f"{v.name}: {v.detail}" for v in examine(build(), build, seconds=0.2) if v.passed is False]
        assert not failed


def test_model_of_another_format_trains_and_speaks(model):
    batch = ragged_batch()
    losses = model.losses(model(batch))
    assert losses["speech"].total.isfinite()
    losses["speech"].mean.backward()
    assert model.head.table.weight.grad is not None
    said = model.continue_speech(batch.prompts, Decoding(max_text_tokens=2, length="reference", max_seconds=0.25))
    assert said.mel is None
    assert said.num_samples.tolist()[:2] == [12000, 6500]
    assert model.score_speech(batch).speech_frames.tolist() == [30, 17, 0]


def test_speech_of_another_format_has_a_default_spectrogram(model, tmp_path):
    batch = ragged_batch()
    decoding = Decoding(max_text_tokens=2, max_seconds=0.25, min_seconds=0.25, stop_threshold=1.1)
    spoken = Speaker(model).continue_speech(Recording(syllables(1.0, 16000), 16000), decoding=decoding)
    assert spoken.mel_settings == MelConfig()
    assert len(spoken.mel) == 20
    assert spoken.draw(tmp_path / "answer.png").is_file()
    samples = answer(model, [batch], decoding, CPU)
    assert samples[0].generated_mel.shape == (20, 128)
    recorded = with_reference(batch)
    copied = as_system(model, recordings(recorded), CPU, vocoded=True)
    vocoded = answer(copied, [recorded], decoding, CPU)
    expected = model.vocoder(*model.head.format.example(batch.continuation, batch.continuation_num_samples))[0]
    torch.testing.assert_close(vocoded[0].generated, expected[0])


@pytest.mark.parametrize(
    ("head", "vocoder", "said"),
    [
        (LevelHead, GriffinLimVocoder, "MelConfig.*Levels"),
        (partial(MelRegressionHead, mel=MelConfig(n_mels=20)), LevelVocoder, "Levels.*MelConfig"),
        (LevelHead, lambda given: LevelVocoder(Levels(vocabulary=5)), "vocabulary=5.*vocabulary=8"),
    ],
)
def test_vocoder_of_another_format_is_refused_with_both(head, vocoder, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        tiny_model(tmp_path, head=head, vocoder=vocoder)


def test_head_without_format_is_refused(tmp_path):
    def bare(hidden_size):
        head = LevelHead(hidden_size)
        del head.format
        return head

    with pytest.raises(ConfigError) as raised:
        tiny_model(tmp_path, head=bare, vocoder=LevelVocoder)
    assert raised.value.key == "head"
