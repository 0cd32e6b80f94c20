"""A speaker continues files, recordings and waveforms, and its answers can be saved, drawn and played."""

import base64
import io
import subprocess
import sys
from types import SimpleNamespace

import numpy
import pytest
import soundfile
import torch
from places import TINY
from prompts import syllables
from tiny_spectron import tiny_model
from torch import nn

import spectron
from spectron.audio.io import read_audio, write_wav
from spectron.audio.mel import LogMel, MelConfig
from spectron.audio.speech_presence import speech_missing
from spectron.batch import Continuation
from spectron.contracts import SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.errors import CheckpointError, ConfigError, DataError
from spectron.inference.speaker import Recording, Speaker

TONE = syllables(1.0, 22050)


class Echo(nn.Module, SpokenLanguageModel):
    """A model that repeats its prompt."""

    prompt_rate_hz = speech_rate_hz = 16000

    def __init__(self):
        super().__init__()
        self.head = SimpleNamespace(format=MelConfig(n_mels=20))

    def continue_speech(self, prompts, decoding):
        mel, num_frames = LogMel(self.head.format)(prompts.waveform, prompts.num_samples)
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
            stopped,
            mel,
            num_frames,
            text_stopped=~stopped,
        )


@pytest.fixture
def echo():
    return Speaker(Echo())


def test_answers_have_prompt_rate_and_own_lengths(echo, tmp_path):
    """A 440 Hz tone at 22 050 Hz comes back as the same tone at 16 000 Hz, without the padding of its batch."""
    prompts = [Recording(TONE, 22050, "tone.wav"), Recording(syllables(2.5, 16000), 16000, "long.wav")]
    first, second = echo.continue_speech(prompts, decoding=Decoding(seed=3))
    heard, rate = read_audio(first.save(tmp_path / "out" / "tone.wav"))
    assert (rate, len(heard)) == (16000, 16000)
    torch.testing.assert_close(heard[500:-500], syllables(1.0, 16000)[500:-500], atol=2e-3, rtol=0)
    assert (first.seconds, first.stopped, second.seconds, second.stopped) == (1.0, True, 2.5, False)
    assert (first.text_stopped, second.text_stopped) == (False, True)
    assert first.text == "tone.wav\N{REPLACEMENT CHARACTER}3", "control characters do not reach the terminal"
    assert first.draw(tmp_path / "tone.png").is_file()


def test_file_waveform_and_array_give_same_answer(echo, tmp_path):
    write_wav(tmp_path / "tone.wav", TONE, 22050)
    read, _ = read_audio(tmp_path / "tone.wav")
    answers = [
        echo.continue_speech(tmp_path / "tone.wav"),
        echo.continue_speech(str(tmp_path / "tone.wav")),
        echo.continue_speech(read, 22050),
        echo.continue_speech(read.numpy(), 22050),
    ]
    assert all(torch.equal(answers[0].waveform, answer.waveform) for answer in answers)
    assert echo.continue_speech([]) == []


@pytest.mark.parametrize(("waveform", "rate"), [(TONE, None), (numpy.zeros((2, 16000)), 16000)])
def test_waveform_without_rate_or_with_channels_is_refused(echo, waveform, rate):
    with pytest.raises(DataError, match="sample_rate_hz"):
        echo.continue_speech(waveform, rate)


@pytest.mark.parametrize(
    "waveform",
    [
        torch.zeros(16000),
        torch.full((16000,), 0.4),
        0.0005 * torch.randn(16000, generator=torch.Generator().manual_seed(0)),
        0.1 * torch.randn(48000, generator=torch.Generator().manual_seed(0)),
        0.3 * torch.sin(2 * torch.pi * 50 * torch.arange(32000) / 16000),
        torch.cat([torch.zeros(8000), torch.ones(3), torch.zeros(8000)]),
    ],
    ids=["zeros", "offset", "faint noise", "noise", "hum", "click"],
)
def test_prompt_without_speech_is_refused_by_name(echo, waveform):
    prompts = [Recording(TONE, 22050, "tone.wav"), Recording(waveform, 16000, "empty.wav")]
    with pytest.raises(DataError, match=r"^empty\.wav contains no speech"):
        echo.continue_speech(prompts)


@pytest.mark.parametrize("waveform", [(32768 * TONE).to(torch.int16), 32768 * TONE, TONE * torch.inf])
def test_waveform_beyond_full_scale_is_refused(echo, waveform):
    with pytest.raises(DataError):
        echo.continue_speech(waveform, 22050)


@pytest.mark.parametrize("snr_db", [-3, 0, 20])
def test_speech_in_noise_is_answered(snr_db):
    speech = syllables(2.0, 16000)
    noise = torch.randn(32000, generator=torch.Generator().manual_seed(0))
    noise *= (speech.square().mean() / noise.square().mean() / 10 ** (snr_db / 10)).sqrt()
    assert speech_missing(speech + noise, 16000) is None


def test_all_missing_files_are_named(echo, tmp_path):
    with pytest.raises(DataError) as raised:
        echo.continue_speech([tmp_path / "one.wav", tmp_path / "two.wav"])
    assert all(name in str(raised.value) for name in ("one.wav", "two.wav"))


def test_notebook_player_contains_text_and_speech(echo):
    page = echo.continue_speech([Recording(TONE, 22050, "<tone>")])[0]._repr_html_()
    assert "&lt;tone&gt;" in page
    encoded = page.partition("base64,")[2].partition('"')[0]
    speech, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
    assert (rate, len(speech)) == (16000, 16000)
    assert abs(speech).max() == pytest.approx(0.3, abs=0.01)


def test_prompt_without_room_for_answer_is_refused(tmp_path):
    """A hundred positions, of which 1.5 s of prompt take a part."""
    speaker = Speaker(tiny_model(tmp_path, max_position_embeddings=100))
    with pytest.raises(ConfigError) as raised:
        speaker.continue_speech([Recording(syllables(1.5, 16000), 16000, "long.wav")])
    assert raised.value.key == "decoding"
    assert "long.wav" in raised.value.message


def test_load_finds_bundled_model_by_name():
    model = spectron.load("mini")
    assert isinstance(model, Speaker)
    assert not model.model.training
    assert model.path.parts[-3:] == ("weights", "spectron", "config.yaml")


def test_load_refuses_a_model_that_does_not_speak():
    with pytest.raises(CheckpointError, match="TinyTask"):
        spectron.load(TINY)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_no_library():
    """Less than 50 ms on an idle core; no test of it, because a busy machine would fail it."""
    assert (
        run("import sys, spectron; print('load' in dir(spectron), {'torch', 'numpy', 'yaml'} & {*sys.modules})")
        == "True set()"
    )


def test_inference_imports_no_trainer(tmp_path):
    """Continue a recording with the bundled model, as text, speech and picture."""
    write_wav(tmp_path / "tone.wav", TONE, 22050)
    heavy = ("lightning", "mlflow", "torchmetrics", "librosa", "lhotse", "speechbrain", "torchaudio")
    code = f"""
import sys, spectron
from spectron import Decoding
answer = spectron.load("mini").continue_speech({str(tmp_path / "tone.wav")!r}, decoding=Decoding(max_seconds=0.2))
answer.draw({str(tmp_path / "tone.png")!r})
print(sorted({{*{heavy!r}, "spectron.training", "spectron.evaluation", "spectron.datamodules", "matplotlib.pyplot"}} &
{{*sys.modules}}))
"""
    assert run(code) == "[]"
