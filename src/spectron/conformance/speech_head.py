"""The contract of a speech head, one function a check."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.batch import SpeechTargets
from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import FINITE, Check, Trial, require, require_close
from spectron.contracts import SpeechHead
from spectron.randomness import RowRandom

ROWS = ["a", "b", "c"]
LENGTH_CURE = (
    "Count num_frames from each row's num_samples, and let self.mel be the settings that targets are made with"
)
INVERSE_CURE = "undo in spectrogram what targets does to the frames"


def shapes(trial: Trial) -> str:
    """Targets, LM inputs and steps fit each other."""
    head: SpeechHead = trial.part
    targets = _targets(trial)
    r = head.frames_per_step
    wanted = -(-targets.num_frames // r)
    counts = f"{targets.num_frames.tolist()} frames at {r} a step are {wanted.tolist()} steps"
    require(
        bool((targets.num_steps == wanted).all()),
        f"{counts}, and targets say {targets.num_steps.tolist()}: round up, a last step may be part padding",
    )
    inputs = head.embed(targets.steps)
    kept = inputs.shape[:2] == targets.steps.shape[:2] and inputs.ndim == 3
    require(
        kept,
        f"embed makes {tuple(inputs.shape)} of steps {tuple(targets.steps.shape)}: give (B, K, D), an LM input a step",
    )
    values, stop = head.step(_hidden(trial, targets)[:, 0], RowRandom(0, ROWS))
    wanted_shape = tuple(targets.steps[:, 0].shape)
    told = f"step gives values {tuple(values.shape)}, and targets hold {wanted_shape}: give the next step in the form of targets.steps"
    require(tuple(values.shape) == wanted_shape, told)
    within = stop.shape == (3,) and bool(((stop >= 0) & (stop <= 1)).all())
    require(
        within,
        f"stop probabilities are {stop.tolist()}, not 3 within 0 and 1: put logits through a sigmoid, and give (B,)",
    )
    steps = " x ".join(map(str, targets.steps.shape))
    return f"{head.mel.sample_rate_hz} Hz -> {steps} steps of {r} frames -> LM inputs {inputs.shape[-1]} wide"


def lengths(trial: Trial) -> str:
    """Targets span the speech, to a frame."""
    mel = trial.part.mel
    _, num_samples = ragged(mel.sample_rate_hz, trial.device)
    targets = _targets(trial)
    expected = num_samples / mel.sample_rate_hz * mel.frame_rate_hz
    seen = ", ".join(
        f"{n} ({wanted:.1f})" for n, wanted in zip(targets.num_frames.tolist(), expected.tolist(), strict=True)
    )
    require(
        bool(((targets.num_frames - expected).abs() <= 1.5).all()),
        f"frames of the rows, expected by mel in brackets: {seen}. {LENGTH_CURE}",
    )
    return f"frames of the rows, expected in brackets: {seen}"


def spectrogram(trial: Trial) -> str:
    """The steps of true speech give its own spectrogram back."""
    targets = _targets(trial)
    mel, num_frames = trial.part.spectrogram(targets.steps, targets.num_steps)
    largest = 0.0
    seen = f"another spectrogram comes back: {INVERSE_CURE}"
    for row, frames in enumerate(targets.num_frames.tolist()):
        require(
            int(num_frames[row]) >= frames,
            f"row {row}: {int(num_frames[row])} frames of {frames} come back: {INVERSE_CURE}",
        )
        largest = max(largest, require_close(mel[row, :frames], targets.mel[row, :frames], f"row {row}: {seen}"))
    return f"spectrograms differ by {largest:.1e}"


def padding(trial: Trial) -> str:
    """Neither targets nor losses notice what stands where padding is."""
    head: SpeechHead = trial.part
    waveform, num_samples = ragged(head.mel.sample_rate_hz, trial.device)
    targets, again = head.targets(waveform, num_samples), head.targets(garbled(waveform, num_samples), num_samples)
    for row, steps in enumerate(targets.num_steps.tolist()):
        seen = f"row {row}: noise in the padding changes the targets: mask samples behind num_samples, and frames behind num_frames"
        require_close(again.steps[row, :steps], targets.steps[row, :steps], seen)
    hidden = _hidden(trial, targets)
    rubbish = garbled(hidden, targets.num_steps)[:, : hidden.shape[1]]
    seen = "noise at padded steps changes the loss: leave them out of every sum"
    difference = require_close(_total(head, rubbish, targets), _total(head, hidden, targets), seen)
    return f"the loss changes by {difference:.1e}"


def batch_against_single(trial: Trial) -> str:
    """Targets of a row are its own; losses of the rows add up to the batch's."""
    head: SpeechHead = trial.part
    waveform, num_samples = ragged(head.mel.sample_rate_hz, trial.device)
    targets = head.targets(waveform, num_samples)
    hidden = _hidden(trial, targets)
    total = torch.zeros((), device=trial.device)
    for row, samples in enumerate(num_samples.tolist()):
        alone = head.targets(waveform[row : row + 1, :samples], num_samples[row : row + 1])
        steps = int(alone.num_steps[0])
        seen = f"row {row} has other targets in a batch than alone: normalise within the row, and mask the padding"
        require_close(targets.steps[row, :steps], alone.steps[0, :steps], seen)
        total = total + _total(head, hidden[row : row + 1, :steps], alone)
    whole = _total(head, hidden, targets)
    difference = require_close(
        total, whole, "losses of single rows do not add up to the batch's: give sums and counts, not means"
    )
    return f"the rows' losses add up to {float(whole):.5g}, to {difference:.1e}"


def random_rows(trial: Trial) -> str:
    """What is drawn in ``embed`` is a matter of the row alone."""
    head: SpeechHead = trial.part
    steps = _targets(trial).steps
    batch, one = head.embed(steps, RowRandom(0, ROWS)), head.embed(steps[1:2], RowRandom(0, ROWS[1:2]))
    return f"rows differ by {require_close(batch[1], one[0], 'a row draws otherwise in a batch than alone: draw from `random`'):.1e}"


def short_audio(trial: Trial) -> str:
    """Rows of no sample and of one sample have targets and losses that are finite."""
    head: SpeechHead = trial.part
    waveform, num_samples = noise([head.mel.sample_rate_hz // 2, 0, 1], trial.device)
    targets = head.targets(waveform, num_samples)
    require(
        int(targets.num_steps[1]) == 0,
        f"an empty row has {int(targets.num_steps[1])} steps, and should have 0: count from num_samples",
    )
    total = _total(head, _hidden(trial, targets), targets)
    require(
        bool(torch.isfinite(total).all()),
        f"an empty row makes the loss {float(total)}: sum over valid steps alone; {FINITE}",
    )
    return f"steps of 0 and 1 samples: {targets.num_steps[1:].tolist()}"


def output(head: SpeechHead, device: torch.device) -> Tensor:
    """LM inputs, next step and loss of the same speech, one after the other."""
    targets = head.targets(*ragged(head.mel.sample_rate_hz, device))
    inputs = head.embed(targets.steps)
    loss = head.loss(inputs, targets)["speech"].mean
    return torch.cat([inputs.flatten(), head.step(inputs[:, 0])[0].flatten(), loss[None]])


def work(head: SpeechHead, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Four recordings of equal length, what speed is measured on."""
    return noise([round(seconds * head.mel.sample_rate_hz)] * 4, device)


def _targets(trial: Trial) -> SpeechTargets:
    return trial.part.targets(*ragged(trial.part.mel.sample_rate_hz, trial.device))


def _hidden(trial: Trial, targets: SpeechTargets) -> Tensor:
    """Random LM states (B, K, D) for these targets."""
    inputs = trial.part.embed(targets.steps).detach()
    return torch.randn(inputs.shape, generator=torch.Generator().manual_seed(4)).to(inputs)


def _total(head: SpeechHead, hidden: Tensor, targets: SpeechTargets) -> Tensor:
    return head.loss(hidden, targets)["speech"].total.detach()


CHECKS: tuple[Check, ...] = (shapes, lengths, spectrogram, padding, batch_against_single, random_rows, short_audio)
