"""Checks of the vocoder contract, one function each."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import FINITE, Check, Trial, require, require_close
from spectron.contracts import Vocoder
from spectron.probing import shown

PADDING_CURE = (
    "mask frames beyond num_frames before every layer that mixes neighbours (convolution, attention, normalisation)"
)
COUNT_CURE = "return one hop of samples for each valid frame, and count num_samples from num_frames"


def shapes(trial: Trial) -> str:
    """Check that frames (B, T, ...) become a finite waveform (B, S) with (B,) valid samples."""
    vocoder: Vocoder = trial.part
    mel, num_frames = _frames(trial)
    result = vocoder(mel, num_frames)
    pair = isinstance(result, tuple) and len(result) == 2 and all(isinstance(tensor, Tensor) for tensor in result)
    require(pair, f"forward returns {shown(result)}. Return the pair waveform (B, S), num_samples (B,)")
    audio, num_samples = result
    require(
        audio.ndim == 2 and len(audio) == len(mel),
        f"{tuple(mel.shape)} log-mel becomes {tuple(audio.shape)}, not (B, S): return one channel",
    )
    require(
        num_samples.shape == (len(mel),) and not num_samples.is_floating_point(),
        f"num_samples is {tuple(num_samples.shape)} of {num_samples.dtype}, not (B,) integers: {COUNT_CURE}",
    )
    longest = int(num_samples.max())
    require(longest <= audio.shape[1], f"{longest} valid samples of {audio.shape[1]}: {COUNT_CURE}")
    require(bool(torch.isfinite(audio).all()), f"the waveform is NaN or infinite: {FINITE}")
    sizes = f"{' x '.join(map(str, mel.shape))} log-mel -> {' x '.join(map(str, audio.shape))} samples"
    return f"{sizes} at {vocoder.format.sample_rate_hz} Hz"


def lengths(trial: Trial) -> str:
    """Check that the waveform is as long as its frames, to two hops."""
    given = trial.part.format
    _, wanted = ragged(given.sample_rate_hz, trial.device)
    hop = round(given.sample_rate_hz / given.frame_rate_hz)
    num_samples = trial.part(*_frames(trial))[1]
    seen = ", ".join(f"{n} ({samples})" for n, samples in zip(num_samples.tolist(), wanted.tolist(), strict=True))
    require(
        bool(((num_samples - wanted).abs() <= 2 * hop).all()),
        f"samples of the rows, with the expected count (to two hops) in brackets: {seen}: {COUNT_CURE} "
        f"(a hop of the format is {hop} samples), or give the speech head the format of this vocoder",
    )
    return f"samples of the rows, those of the recordings in brackets: {seen}"


def padding(trial: Trial) -> str:
    """Check that noise in padded frames does not change a valid sample."""
    mel, num_frames = _frames(trial)
    audio, num_samples = trial.part(mel, num_frames)
    again, _ = trial.part(garbled(mel, num_frames), num_frames)
    seen = f"noise in padded frames changes valid samples: {PADDING_CURE}"
    return f"valid samples change by {require_close(_valid(again, num_samples), _valid(audio, num_samples), seen):.1e}"


def batch_against_single(trial: Trial) -> str:
    """Check that each row of a batch gives what it gives alone."""
    mel, num_frames = _frames(trial)
    audio, num_samples = trial.part(mel, num_frames)
    largest = 0.0
    for row, frames in enumerate(num_frames.tolist()):
        alone, samples = trial.part(mel[row : row + 1, :frames], num_frames[row : row + 1])
        counts = f"row {row}: {int(num_samples[row])} samples in a batch, {int(samples[0])} alone"
        require(int(samples[0]) == int(num_samples[row]), f"{counts}: {COUNT_CURE}")
        seen = f"row {row} has another waveform in a batch than alone: {PADDING_CURE}"
        largest = max(largest, require_close(audio[row, : samples[0]], alone[0, : samples[0]], seen))
    return f"rows differ by {largest:.1e}"


def short_speech(trial: Trial) -> str:
    """Check that rows of no frame, one frame and two frames become finite waveforms, in a batch and alone."""
    mel, _ = _frames(trial)
    frames = torch.tensor([0, 1, 2], device=trial.device)
    audio, num_samples = trial.part(mel, frames)
    require(bool((num_samples >= 0).all()), f"0, 1 and 2 frames become {num_samples.tolist()} samples: clamp them at 0")
    cure = "pad spectrograms shorter than a window with zeros"
    finite = bool(torch.isfinite(_valid(audio, num_samples)).all())
    require(finite, f"short rows in a batch make the waveform NaN or infinite: {cure}")
    for row in (1, 2):
        alone, _ = trial.part(mel[row : row + 1, :row], frames[row : row + 1])
        require(bool(torch.isfinite(alone).all()), f"{row} frames alone make the waveform NaN or infinite: {cure}")
    return f"samples of 0, 1 and 2 frames: {num_samples.tolist()}"


def output(vocoder: Vocoder, device: torch.device) -> Tensor:
    """Return the valid samples of three fixed recordings, concatenated (S,)."""
    return _valid(*vocoder(*vocoder.format.example(*ragged(vocoder.format.sample_rate_hz, device))))


def work(vocoder: Vocoder, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Return the frames of four recordings of equal length, for measuring speed."""
    return vocoder.format.example(*noise([round(seconds * vocoder.format.sample_rate_hz)] * 4, device))


def _frames(trial: Trial) -> tuple[Tensor, Tensor]:
    return trial.part.format.example(*ragged(trial.part.format.sample_rate_hz, trial.device))


def _valid(audio: Tensor, num_samples: Tensor) -> Tensor:
    return torch.cat([row[:samples] for row, samples in zip(audio, num_samples.tolist(), strict=True)])


CHECKS: tuple[Check, ...] = (shapes, lengths, padding, batch_against_single, short_speech)
