"""A speaker: a spoken language model that continues recordings, and its answers."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import soundfile
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.io import read_audio, require_plausible, to_16_bits, write_wav
from spectron.audio.mel import LogMel, MelConfig, mel_at_rate
from spectron.audio.picture import MelPanel, mel_picture, printable
from spectron.audio.resampling import resample
from spectron.audio.speech_presence import speech_missing
from spectron.batch import Continuation, Prompts, SpokenLength
from spectron.context_length import require_fits_context
from spectron.contracts import SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.errors import DataError
from spectron.model import SpectronModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECODING = Decoding()


@dataclass
class Recording:
    """A spoken prompt.

    Args:
        waveform: Mono audio (S,).
        sample_rate_hz: Its rate; any rate.
        name: Shown in messages and pictures. Together with ``Decoding.seed`` it seeds all that is sampled.
    """

    waveform: Tensor
    sample_rate_hz: int
    name: str = "prompt"

    @classmethod
    def read(cls, path: str | Path) -> Recording:
        """Read an audio file.

        Raises:
            DataError: if the file is missing, broken or empty.
        """
        return cls(*read_audio(path), Path(path).name)


@dataclass
class Answer:
    """The continuation of one prompt. A notebook shows its text and a player.

    Args:
        prompt: The prompt.
        text: All text that the model wrote.
        transcript: The part of ``text`` that repeats the prompt; None for a model that does not separate the two parts.
        continuation: The part of ``text`` that follows the prompt; None as for ``transcript``.
        waveform: The speech (S,), on the CPU.
        sample_rate_hz: Its rate.
        stopped: Whether the speech ended before the longest length allowed, ``Decoding.max_seconds``.
        mel: Log-mel spectrogram (T, M) of the speech.
        mel_settings: Its settings.
        text_stopped: Whether the text ended before the most tokens allowed, ``Decoding.max_text_tokens``; None for a
            model that wrote no text.
    """

    prompt: Recording
    text: str
    transcript: str | None
    continuation: str | None
    waveform: Tensor
    sample_rate_hz: int
    stopped: bool
    mel: Tensor
    mel_settings: MelConfig
    text_stopped: bool | None = None

    @property
    def seconds(self) -> float:
        """Length of the speech."""
        return len(self.waveform) / self.sample_rate_hz

    def save(self, path: str | Path) -> Path:
        """Write the speech as 16-bit WAV, making its folder; returns the file.

        Raises:
            WriteError: if the file cannot be written.
        """
        write_wav(path, self.waveform, self.sample_rate_hz)
        return Path(path)

    def draw(self, path: str | Path) -> Path:
        """Draw the spectrograms of prompt and speech, with the texts, as a PNG; returns the file.

        Raises:
            WriteError: if the file cannot be written.
        """
        mel = self.mel_settings
        prompt = resample(self.prompt.waveform, self.prompt.sample_rate_hz, mel.sample_rate_hz)[None]  # (1, S)
        prompt_mel, _ = LogMel(mel)(prompt, torch.tensor([prompt.shape[1]]))
        transcript = "" if self.transcript is None else f"transcript: {self.transcript}"
        written = f"text: {self.text if self.continuation is None else self.continuation}"
        panels = [
            MelPanel(f"Prompt: {self.prompt.name}", prompt_mel[0], mel.frame_rate_hz, transcript),
            MelPanel("Continuation", self.mel, mel.frame_rate_hz, written),
        ]
        return mel_picture(Path(path), panels)

    def _repr_html_(self) -> str:
        """Return the text and a player that contains the speech, for a notebook."""
        file = io.BytesIO()
        soundfile.write(file, to_16_bits(self.waveform).numpy(), self.sample_rate_hz, format="WAV", subtype="PCM_16")
        wav = base64.b64encode(file.getvalue()).decode()
        return f'<p>{html.escape(self.text)}</p><audio controls src="data:audio/wav;base64,{wav}"></audio>'


Prompt = str | Path | Recording


class Speaker:
    """A spoken language model that continues recordings; ``spectron.load`` makes one.

    >>> import spectron
    >>> model = spectron.load("mini")
    >>> answer = model.continue_speech("question.wav")  # doctest: +SKIP
    >>> answer.transcript, answer.continuation  # doctest: +SKIP
    ('what is the capital of france', 'the capital of france is paris')
    >>> answer.save("answer.wav")  # doctest: +SKIP

    Args:
        model: The model, in eval mode.
        path: Its checkpoint or ``config.yaml``, if it has one.
    """

    def __init__(self, model: SpokenLanguageModel, path: Path | None = None) -> None:
        self.model = model
        self.path = path

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else iter(())
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

    def to(self, device: str | torch.device) -> Self:
        """Move the model's weights; returns the speaker."""
        if isinstance(self.model, nn.Module):
            self.model.to(device)
        return self

    @overload
    def continue_speech(
        self, prompt: Prompt | Tensor | NDArray[Any], sample_rate_hz: int | None = None, decoding: Decoding = DECODING
    ) -> Answer: ...

    @overload
    def continue_speech(
        self, prompt: list[Any] | tuple[Any, ...], sample_rate_hz: None = None, decoding: Decoding = DECODING
    ) -> list[Answer]: ...

    def continue_speech(
        self, prompt: Any, sample_rate_hz: int | None = None, decoding: Decoding = DECODING
    ) -> Answer | list[Answer]:
        """Continue one prompt, or several at once.

        Args:
            prompt: An audio file, a ``Recording``, or a waveform (S,) with ``sample_rate_hz``. A list of files and
                recordings gives a list of answers, each the same as for its prompt alone.
            sample_rate_hz: Rate of a waveform.
            decoding: Longest speech, seed, temperature and further settings.

        Raises:
            DataError: if prompts are missing, broken, without speech or too long for the model (the message names all
                of them), or a waveform comes without its rate or with several channels.
            ConfigError: if prompt, text and speech may take more positions than the language model has.
        """
        if isinstance(prompt, list | tuple):
            return self._continue(read_prompts(prompt), decoding)
        if isinstance(prompt, str | Path | Recording):
            return self._continue(read_prompts([prompt]), decoding)[0]
        waveform = torch.as_tensor(prompt)
        if sample_rate_hz is None or waveform.ndim != 1:
            shape, rate = tuple(waveform.shape), "no" if sample_rate_hz is None else "a"
            raise DataError(
                f"a waveform of shape {shape} with {rate} sample rate: give one channel, (samples,), and sample_rate_hz"
            )
        return self._continue([Recording(waveform, sample_rate_hz)], decoding)[0]

    def _continue(self, prompts: list[Recording], decoding: Decoding) -> list[Answer]:
        model = self.model
        if not prompts:
            return []
        require_speech(prompts)
        waveforms = [resample(one.waveform, one.sample_rate_hz, model.prompt_rate_hz) for one in prompts]
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        names = [one.name for one in prompts]
        batch = Prompts(names, pad_sequence(waveforms, batch_first=True).to(self.device), lengths.to(self.device))
        if isinstance(model, SpectronModel):
            lengths_seconds = [len(one.waveform) / one.sample_rate_hz for one in prompts]
            sizes = [SpokenLength(name, seconds) for name, seconds in zip(names, lengths_seconds, strict=True)]
            require_fits_context(model, sizes, decoding)
        answers = model.continue_speech(batch, decoding)
        return [self._answer(prompt, answers, row) for row, prompt in enumerate(prompts)]

    def _answer(self, prompt: Recording, answers: Continuation, row: int) -> Answer:
        """Return one row of a batch of answers, without padding."""
        waveform = answers.waveform[row, : int(answers.num_samples[row])].cpu()
        settings, mel = self._spectrogram(waveform, answers, row)
        return Answer(
            prompt,
            printable(answers.text[row]),
            printable(answers.transcript[row]) if answers.transcript else None,
            printable(answers.continuation_text[row]) if answers.continuation_text else None,
            waveform,
            answers.sample_rate_hz,
            bool(answers.stopped[row]),
            mel,
            settings,
            None if answers.text_stopped is None else bool(answers.text_stopped[row]),
        )

    def _spectrogram(self, waveform: Tensor, answers: Continuation, row: int) -> tuple[MelConfig, Tensor]:
        """Return settings and log-mel (T, M) of an answer: the model's own, or the default of the waveform (S,)."""
        own = getattr(getattr(self.model, "head", None), "format", None)
        if isinstance(own, MelConfig) and answers.mel is not None and answers.num_frames is not None:
            return own, answers.mel[row, : int(answers.num_frames[row])].cpu()
        settings = mel_at_rate(MelConfig(), answers.sample_rate_hz)
        return settings, LogMel(settings)(waveform[None], torch.tensor([len(waveform)]))[0][0]


def require_speech(prompts: Sequence[Recording]) -> None:
    """Refuse prompts without speech: a model would answer them with made-up words.

    Raises:
        DataError: if a prompt is silent or a steady sound (it names all of them), or has impossible samples.
    """
    for one in prompts:
        if len(one.waveform):
            require_plausible(one.waveform, one.name)
    reasons = [(one.name, speech_missing(one.waveform, one.sample_rate_hz)) for one in prompts]
    if lines := [f"{name} contains no speech: {reason}. Record it again" for name, reason in reasons if reason]:
        raise DataError("\n".join(lines))


def read_prompts(prompts: Sequence[Prompt]) -> list[Recording]:
    """Read every prompt that is a file.

    Raises:
        DataError: for missing, broken or empty files; it names all of them.
    """
    recordings, broken = [], []
    for prompt in prompts:
        try:
            recordings.append(prompt if isinstance(prompt, Recording) else Recording.read(prompt))
        except DataError as error:
            broken.append(str(error))
    if broken:
        raise DataError("\n".join(broken))
    return recordings
