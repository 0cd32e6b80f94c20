"""Prompts from files to a model, and its answers to files."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule
from tiny_spectron import tiny_model
from torch import nn

from spectron.audio.io import read_audio
from spectron.audio.mel import LogMel, MelConfig
from spectron.batch import Continuation
from spectron.cli.continuing import Recording, output_files, speak
from spectron.contracts import Decoding, SpokenLanguageModel
from spectron.errors import ConfigError


class Echo(nn.Module, SpokenLanguageModel):
    """Says what it hears."""

    prompt_rate_hz = speech_rate_hz = 16000

    def __init__(self):
        super().__init__()
        self.head = SimpleNamespace(mel=MelConfig(n_mels=20))

    def continue_speech(self, prompts, decoding):
        mel, num_frames = LogMel(self.head.mel)(prompts.waveform, prompts.num_samples)
        said = [f"{row}\x07{decoding.seed}" for row in prompts.ids]
        stopped = torch.tensor([True, False])
        return Continuation(
            prompts.ids,
            said,
            None,
            None,
            prompts.waveform,
            prompts.num_samples,
            self.speech_rate_hz,
            mel,
            num_frames,
            stopped,
        )


class EchoTask(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Echo()


def test_prompts_are_resampled_and_answers_cut_to_their_lengths(tmp_path):
    """A 440 Hz tone at 22 050 Hz comes back as the same tone at 16 000 Hz, without the padding of its batch."""
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(22050) / 22050)
    prompts = [Recording(Path("tone.wav"), tone, 22050), Recording(Path("long.wav"), torch.zeros(40000), 16000)]
    files = output_files([prompt.path for prompt in prompts], tmp_path / "out")
    first, second = speak(EchoTask(), prompts, files, Decoding(seed=3))
    heard, rate = read_audio(tmp_path / "out" / "tone.wav")
    assert (rate, len(heard)) == (16000, 16000)
    expected = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
    torch.testing.assert_close(heard[500:-500], expected[500:-500], atol=2e-3, rtol=0)
    assert (first.seconds, first.stopped, second.seconds, second.stopped) == (1.0, True, 2.5, False)
    assert first.text == "tone.wav\N{REPLACEMENT CHARACTER}3", "control characters do not reach the terminal"
    assert first.picture.is_file()


def test_where_answers_go(tmp_path):
    one, two, same = Path("a/x.wav"), Path("b/y.flac"), Path("b/x.ogg")
    assert output_files([one], Path("o.wav")) == [Path("o.wav")]
    assert output_files([one], Path("o")) == [Path("o.wav")]
    assert output_files([one], tmp_path) == [tmp_path / "x.wav"]
    assert output_files([one, two], Path("o")) == [Path("o/x.wav"), Path("o/y.wav")]
    assert len(set(output_files([one, two, same], Path("o")))) == 3
    with pytest.raises(ConfigError, match="2 prompts need a folder"):
        output_files([one, two], Path("o.wav"))


@pytest.mark.parametrize(
    ("prompts", "output", "named"),
    [
        (["a.wav"], ".", "a.wav"),
        (["a.wav"], "a", "a.wav"),
        (["a.wav", "b.wav"], ".", "a.wav"),
        (["x.wav", "x.flac", "x-0.wav"], "o", "x-0.wav"),
    ],
)
def test_no_recording_and_no_answer_is_written_over(prompts, output, named, tmp_path):
    with pytest.raises(ConfigError, match=rf"would be written over .*{named}"):
        output_files([tmp_path / name for name in prompts], tmp_path / output)


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(tmp_path):
    """Forty positions, of which 1.5 s of prompt take half."""
    task = LightningModule()
    task.model = tiny_model(tmp_path, max_position_embeddings=100)
    long = Recording(Path("long.wav"), torch.zeros(24000), 16000)
    with pytest.raises(
        ConfigError,
        match=r"max_text_tokens=64 and decoding\.max_seconds=10 .* after a prompt of 1\.5 s \(long\.wav, .* has 100",
    ):
        speak(task, [long], [tmp_path / "x.wav"], Decoding())
