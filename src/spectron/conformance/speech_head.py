"""Checks of the speech head contract, one function each."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.audio.mel import MelConfig
from spectron.audio.speech_format import SpeechFormat
from spectron.batch import SpeechTargets
from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import FINITE, Check, Trial, require, require_close
from spectron.contracts import SpeechHead
from spectron.randomness import RowRandom

ROWS = ["a", "b", "c"]
LENGTH_CURE = (
    "Count num_frames from each row's num_samples, and let self.format be the format that the targets are made in"
)
INVERSE_CURE = "let vocoder_input undo what targets does to the frames"


def shapes(trial: Trial) -> str:
    """Check that targets, LM inputs, steps and losses fit each other."""
    head: SpeechHead = trial.part
    has_format = isinstance(getattr(head, "format", None), SpeechFormat)
    require(
        has_format, "it sets no `format`: set self.format in its constructor, for example the MelConfig of its targets"
    )
    targets = _targets(trial)
    for row, (count, frames) in enumerate(zip(targets.num_steps.tolist(), targets.num_frames.tolist(), strict=True)):
        contained = sum(int(torch.as_tensor(head.frames_in(targets.steps[row : row + 1, k], k))) for k in range(count))
        require(
            frames <= contained and count <= head.most_steps(frames),
            f"row {row} has {frames} frames, but its {count} steps contain {contained} by frames_in, and most_steps "
            f"allows {head.most_steps(frames)} steps: round up, because a last step may be partly padding",
        )
    inputs = head.embed(targets.steps)
    require(
        inputs.shape[:2] == targets.steps.shape[:2] and inputs.ndim == 3,
        f"embed makes {tuple(inputs.shape)} of steps {tuple(targets.steps.shape)}: return (B, K, D), one LM input for "
        "each step",
    )
    hidden = _hidden(trial, targets)
    values, stop = head.step(hidden[:, 0], RowRandom(0, ROWS))
    wanted_shape = tuple(targets.steps[:, 0].shape)
    require(
        tuple(values.shape) == wanted_shape,
        f"step returns values {tuple(values.shape)}, but the targets hold {wanted_shape}: return the next step in the "
        "format of targets.steps",
    )
    within = stop.shape == (3,) and bool(((stop >= 0) & (stop <= 1)).all())
    require(
        within,
        f"stop probabilities are {stop.tolist()}, not 3 numbers from 0 to 1: apply a sigmoid, and return (B,)",
    )
    losses = head.loss(hidden, targets)
    require(
        "speech" in losses,
        f"loss returns {', '.join(losses) or 'nothing'} and no `speech`, the weighted total that training minimises: "
        "add that key",
    )
    steps = " x ".join(map(str, targets.steps.shape))
    return f"{head.format.sample_rate_hz} Hz -> {steps} steps -> LM inputs {inputs.shape[-1]} wide"


def lengths(trial: Trial) -> str:
    """Check that targets are as long as the speech, to a frame."""
    given = trial.part.format
    _, num_samples = ragged(given.sample_rate_hz, trial.device)
    targets = _targets(trial)
    expected = num_samples / given.sample_rate_hz * given.frame_rate_hz
    pairs = zip(targets.num_frames.tolist(), expected.tolist(), strict=True)
    seen = ", ".join(f"{frames} ({wanted:.1f})" for frames, wanted in pairs)
    require(
        bool(((targets.num_frames - expected).abs() <= 1.5).all()),
        f"frames of the rows, with the count expected from format in brackets: {seen}. {LENGTH_CURE}",
    )
    return f"frames of the rows, expected count in brackets: {seen}"


def vocoder_input(trial: Trial) -> str:
    """Check that the steps of recorded speech give all of its frames, and its spectrogram if the format is one."""
    targets = _targets(trial)
    given, num_frames = trial.part.vocoder_input(targets.steps, targets.num_steps)
    is_mel = isinstance(trial.part.format, MelConfig)
    require(
        is_mel == (targets.mel is not None),
        "its format is a MelConfig, but its targets have no mel, or the reverse: give SpeechTargets.mel exactly for a "
        "mel",
    )
    largest = 0.0
    for row, frames in enumerate(targets.num_frames.tolist()):
        count = int(num_frames[row])
        require(count >= frames, f"row {row}: vocoder_input returns {count} frames of {frames}: {INVERSE_CURE}")
        if targets.mel is not None:
            seen = f"row {row}: vocoder_input returns another spectrogram: {INVERSE_CURE}"
            largest = max(largest, require_close(given[row, :frames], targets.mel[row, :frames], seen))
    return f"spectrograms differ by {largest:.1e}" if is_mel else f"frames of the rows: {num_frames.tolist()}"


def padding(trial: Trial) -> str:
    """Check that noise in the padding changes neither targets nor losses."""
    head: SpeechHead = trial.part
    waveform, num_samples = ragged(head.format.sample_rate_hz, trial.device)
    targets, again = head.targets(waveform, num_samples), head.targets(garbled(waveform, num_samples), num_samples)
    for row, steps in enumerate(targets.num_steps.tolist()):
        seen = (
            f"row {row}: noise in the padding changes the targets: mask samples beyond num_samples, and frames beyond "
            "num_frames"
        )
        require_close(again.steps[row, :steps], targets.steps[row, :steps], seen)
    hidden = _hidden(trial, targets)
    rubbish = garbled(hidden, targets.num_steps)[:, : hidden.shape[1]]
    seen = "noise at padded steps changes the loss: leave them out of every sum"
    difference = require_close(_total(head, rubbish, targets), _total(head, hidden, targets), seen)
    return f"the loss changes by {difference:.1e}"


def batch_against_single(trial: Trial) -> str:
    """Check that a row has its targets in every batch, and that losses of rows, and of steps, add up to the batch's."""
    head: SpeechHead = trial.part
    waveform, num_samples = ragged(head.format.sample_rate_hz, trial.device)
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
    seen = "losses of single rows do not add up to the batch's: return sums and counts, not means"
    difference = require_close(total, whole, seen)
    losses = head.loss(hidden, targets)
    for name, values in head.step_losses(hidden, targets).items():
        require(
            name in losses and values.shape == hidden.shape[:2],
            f"step_losses returns {name} {tuple(values.shape)}: return losses of the names of loss, each (B, K)",
        )
        seen = f"the sum of step_losses of {name} is not its total: leave out a loss that is no sum over steps"
        require_close(values.sum().float(), losses[name].total.float(), seen)
    return f"the rows' losses add up to {float(whole):.5g}, to {difference:.1e}"


def random_rows(trial: Trial) -> str:
    """Check that random numbers in ``embed`` depend on the row alone."""
    head: SpeechHead = trial.part
    steps = _targets(trial).steps
    batch, one = head.embed(steps, RowRandom(0, ROWS)), head.embed(steps[1:2], RowRandom(0, ROWS[1:2]))
    seen = "a row draws other numbers in a batch than alone: draw from `random`"
    return f"rows differ by {require_close(batch[1], one[0], seen):.1e}"


def short_audio(trial: Trial) -> str:
    """Check that rows of no sample and of one sample have finite targets and losses."""
    head: SpeechHead = trial.part
    waveform, num_samples = noise([head.format.sample_rate_hz // 2, 0, 1], trial.device)
    targets = head.targets(waveform, num_samples)
    empty = int(targets.num_steps[1])
    require(empty == 0, f"an empty row has {empty} steps instead of 0: count from num_samples")
    total = _total(head, _hidden(trial, targets), targets)
    cure = f"sum over valid steps alone; {FINITE}"
    require(bool(torch.isfinite(total).all()), f"an empty row makes the loss {float(total)}: {cure}")
    return f"steps of 0 and 1 samples: {targets.num_steps[1:].tolist()}"


def output(head: SpeechHead, device: torch.device) -> Tensor:
    """Return LM inputs, next step and loss of fixed speech, concatenated."""
    targets = head.targets(*ragged(head.format.sample_rate_hz, device))
    inputs = head.embed(targets.steps)
    loss = head.loss(inputs, targets)["speech"].mean
    return torch.cat([inputs.flatten(), head.step(inputs[:, 0])[0].flatten(), loss[None]])


def work(head: SpeechHead, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Return four recordings of equal length, for measuring speed."""
    return noise([round(seconds * head.format.sample_rate_hz)] * 4, device)


def _targets(trial: Trial) -> SpeechTargets:
    return trial.part.targets(*ragged(trial.part.format.sample_rate_hz, trial.device))


def _hidden(trial: Trial, targets: SpeechTargets) -> Tensor:
    """Return random LM states (B, K, D) for these targets."""
    inputs = trial.part.embed(targets.steps).detach()
    return torch.randn(inputs.shape, generator=torch.Generator().manual_seed(4)).to(inputs)


def _total(head: SpeechHead, hidden: Tensor, targets: SpeechTargets) -> Tensor:
    return head.loss(hidden, targets)["speech"].total.detach()


CHECKS: tuple[Check, ...] = (shapes, lengths, vocoder_input, padding, batch_against_single, random_rows, short_audio)
