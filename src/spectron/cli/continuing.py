"""Continues recordings: prompts from files, speech and a picture to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.io import AUDIO_SUFFIXES, read_audio, write_wav
from spectron.audio.mel import LogMel
from spectron.audio.picture import MelPanel, mel_picture, printable
from spectron.audio.resampling import resample
from spectron.batch import Continuation, Prompts, SpokenLength
from spectron.context_length import require_fits_context
from spectron.contracts import Decoding, SpokenLanguageModel
from spectron.errors import CheckpointError, ConfigError, DataError
from spectron.model import SpectronModel


@dataclass
class Recording:
    """A spoken prompt: the file, its waveform (S,) and its sample rate."""

    path: Path
    waveform: Tensor
    sample_rate_hz: int


@dataclass
class Spoken:
    """An answer: the texts (``transcript`` is None for a model that does not tell prompt and continuation apart) and the files."""

    prompt: Path
    text: str
    transcript: str | None
    continuation: str | None
    seconds: float
    stopped: bool
    wav: Path
    picture: Path


def read_prompts(paths: list[Path]) -> list[Recording]:
    """Read every prompt.

    Raises:
        DataError: for missing, broken or empty files; it names all of them.
    """
    recordings, broken = [], []
    for path in paths:
        try:
            recordings.append(Recording(path, *read_audio(path)))
        except DataError as error:
            broken.append(str(error))
    if broken:
        raise DataError("\n".join(broken))
    return recordings


def output_files(prompts: list[Path], output: Path) -> list[Path]:
    """Where each answer goes: one answer to the file ``output``, several into the folder ``output``, under their prompts' names.

    Raises:
        ConfigError: where several answers would go to one file, an answer in the place of a prompt, or a file is no wav by its name.
    """
    suffix = output.suffix.lower()
    if suffix in AUDIO_SUFFIXES and suffix != ".wav":
        raise ConfigError(f"-o {output}: speech is written as WAV. Name it {output.with_suffix('.wav').name}")
    if len(prompts) == 1 and not output.is_dir():
        files = [output if suffix == ".wav" else output.with_name(output.name + ".wav")]
    elif suffix == ".wav":
        raise ConfigError(
            f"-o {output}: {len(prompts)} prompts need a folder for their answers, not one file. Leave out the .wav"
        )
    else:
        names = [path.stem for path in prompts]
        files = [
            output / (f"{name}.wav" if names.count(name) == 1 else f"{name}-{place}.wav")
            for place, name in enumerate(names)
        ]
    taken = {path.resolve() for path in prompts}
    for place, file in enumerate(files):
        if file.resolve() in taken:
            raise ConfigError(
                f"-o {output}: the answer to {prompts[place]} would be written over {file}. Name another folder or file"
            )
        taken.add(file.resolve())
    return files


def speak(module: LightningModule, prompts: list[Recording], files: list[Path], decoding: Decoding) -> list[Spoken]:
    """Continue every prompt, and write the speech and a picture of prompt and speech beside it.

    Args:
        module: A task whose model is a ``SpokenLanguageModel``.
        prompts: Recordings at any rate.
        files: One wav for each; the picture gets the same name.
        decoding: How to decode.

    Raises:
        CheckpointError: if the model does not speak.
        ConfigError: if prompt, text and speech may need more positions than the language model has.
    """
    model: Any = getattr(module, "model", None)
    if not isinstance(model, SpokenLanguageModel):
        raise CheckpointError(
            f"this is a {type(module).__name__}, which cannot continue speech. Give a run of a SpectronModule."
        )
    waveforms = [resample(prompt.waveform, prompt.sample_rate_hz, model.prompt_rate_hz) for prompt in prompts]
    num_samples = torch.tensor([len(waveform) for waveform in waveforms], device=module.device)
    waveform = pad_sequence(waveforms, batch_first=True).to(module.device)
    batch = Prompts([prompt.path.name for prompt in prompts], waveform, num_samples)
    if isinstance(model, SpectronModel):
        lengths = [SpokenLength(prompt.path.name, len(prompt.waveform) / prompt.sample_rate_hz) for prompt in prompts]
        require_fits_context(model, lengths, decoding)
    answer = model.continue_speech(batch, decoding)
    return [
        _write(model, prompt, file, answer, row) for row, (prompt, file) in enumerate(zip(prompts, files, strict=True))
    ]


def _write(model: Any, prompt: Recording, wav: Path, answer: Continuation, row: int) -> Spoken:
    """Write one row of an answer."""
    num_samples, num_frames = int(answer.num_samples[row]), int(answer.num_frames[row])
    text = printable(answer.text[row])
    transcript = printable(answer.transcript[row]) if answer.transcript else None
    continuation = printable(answer.continuation_text[row]) if answer.continuation_text else None
    write_wav(wav, answer.waveform[row, :num_samples], answer.sample_rate_hz)
    heard = resample(prompt.waveform, prompt.sample_rate_hz, model.head.mel.sample_rate_hz)[None]
    prompt_mel, _ = LogMel(model.head.mel)(heard, torch.tensor([heard.shape[1]]))
    rate = model.head.mel.frame_rate_hz
    panels = [
        MelPanel(
            f"Prompt: {prompt.path.name}", prompt_mel[0], rate, "" if transcript is None else f"heard: {transcript}"
        ),
        MelPanel(
            "Continuation",
            answer.mel[row, :num_frames],
            rate,
            f"written: {text if continuation is None else continuation}",
        ),
    ]
    picture = mel_picture(wav.with_suffix(".png"), panels)
    seconds = num_samples / answer.sample_rate_hz
    return Spoken(prompt.path, text, transcript, continuation, seconds, bool(answer.stopped[row]), wav, picture)
