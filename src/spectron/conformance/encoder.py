"""The contract of a speech encoder, one function a check."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import FINITE, Check, ContractViolation, Trial, require, require_close
from spectron.contracts import SpeechEncoder

STEP_TOLERANCE = 2.5  # encoder steps that windows may add or take at the ends of a recording
COUNT_CURE = "count num_steps from each row's num_samples, not from the padded tensor"
WAVEFORM_CURE = "mask the waveform and whatever mixes neighbouring steps (convolutions, attention, normalisation) beyond the lengths"


def shapes(trial: Trial) -> str:
    """A pair of (B, U, D) features and (B,) integer steps, as wide as the encoder says."""
    encoder: SpeechEncoder = trial.part
    encoder.require_set_up()
    waveform, num_samples = ragged(encoder.sample_rate_hz, trial.device)
    features, num_steps = encoder.tried(waveform, num_samples)
    encoder.require_rate()
    require(bool(torch.isfinite(_valid(features, num_steps)).all()), f"valid features are NaN or infinite: {FINITE}")
    seen = f"{' x '.join(map(str, waveform.shape))} samples -> {' x '.join(map(str, features.shape))}"
    return f"{seen}, {encoder.sample_rate_hz} Hz -> {encoder.frame_rate_hz:.5g} features/s of {encoder.output_dim}"


def lengths(trial: Trial) -> str:
    """As many steps as duration and frame rate make."""
    encoder: SpeechEncoder = trial.part
    waveform, num_samples = ragged(encoder.sample_rate_hz, trial.device)
    num_steps = encoder(waveform, num_samples)[1]
    expected = num_samples / encoder.sample_rate_hz * encoder.frame_rate_hz
    seen = ", ".join(
        f"{steps} ({wanted:.1f})" for steps, wanted in zip(num_steps.tolist(), expected.tolist(), strict=True)
    )
    off = bool(((num_steps - expected).abs() > STEP_TOLERANCE).any())
    cure = (
        "Count num_steps from each row's num_samples, not from the padded tensor, and let frame_rate_hz tell the same"
    )
    require(not off, f"steps of the rows, expected by frame_rate_hz in brackets: {seen}. {cure}")
    longest = int(num_samples.argmax())
    made = encoder(waveform[longest : longest + 1], num_samples[longest : longest + 1])[0].shape[1]
    uncounted = made - int(num_steps[longest])
    # It may be meant, for a last step that is not whole; it may as well be a slip that loses the end of every recording.
    hint = (
        f"; {made} steps are made of the longest, and {uncounted} of them not counted: is that meant?"
        if uncounted
        else ""
    )
    return f"steps of the rows, expected in brackets: {seen}{hint}"


def padding(trial: Trial) -> str:
    """Noise where the padding is changes nothing that is valid."""
    waveform, num_samples = ragged(trial.part.sample_rate_hz, trial.device)
    features, num_steps = trial.part(waveform, num_samples)
    again, same_steps = trial.part(garbled(waveform, num_samples), num_samples)
    same = bool((same_steps == num_steps).all())
    require(same, f"more padding makes {same_steps.tolist()} steps of {num_steps.tolist()}: {COUNT_CURE}")
    seen = f"noise in the padding changes valid features: {WAVEFORM_CURE}"
    return f"valid features change by {require_close(_valid(again, num_steps), _valid(features, num_steps), seen):.1e}"


def batch_against_single(trial: Trial) -> str:
    """Each row of a batch is what it is alone."""
    waveform, num_samples = ragged(trial.part.sample_rate_hz, trial.device)
    features, num_steps = trial.part(waveform, num_samples)
    largest = 0.0
    for row, samples in enumerate(num_samples.tolist()):
        alone, steps = trial.part(waveform[row : row + 1, :samples], num_samples[row : row + 1])
        counts = f"row {row} has {int(num_steps[row])} steps in a batch and {int(steps[0])} alone"
        require(int(steps[0]) == int(num_steps[row]), f"{counts}: {COUNT_CURE}")
        seen = f"row {row} has other features in a batch than alone: {WAVEFORM_CURE}"
        largest = max(largest, require_close(features[row, : steps[0]], alone[0, : steps[0]], seen))
    return f"rows differ by {largest:.1e}"


def short_audio(trial: Trial) -> str:
    """Rows of no sample, one sample and 5 ms, in a batch and alone, are encoded and disturb no other."""
    rate = trial.part.sample_rate_hz
    waveform, num_samples = noise([rate // 2, 0, 1, rate // 200], trial.device)
    features, num_steps = _encoded(trial, waveform, num_samples)
    negative = f"recordings of {num_samples.tolist()} samples have {num_steps.tolist()} steps: clamp them at 0"
    require(bool((num_steps >= 0).all()), negative)
    empty_cure = (
        "clamp lengths at 1 before dividing by them, and mask attention with a large negative number, not with -inf"
    )
    seen = f"an empty row in a batch makes features NaN or infinite: {empty_cure}"
    require(bool(torch.isfinite(_valid(features, num_steps)).all()), seen)
    alone, steps = trial.part(waveform[:1, : rate // 2], num_samples[:1])
    require_close(
        features[0, : steps[0]], alone[0, : steps[0]], f"an empty row in a batch changes another row: {WAVEFORM_CURE}"
    )
    for row in (2, 3):
        short, steps = _encoded(trial, waveform[row : row + 1, : num_samples[row]], num_samples[row : row + 1])
        counts = (
            f"{int(num_samples[row])} samples have {int(num_steps[row])} steps in a batch and {int(steps[0])} alone"
        )
        require(int(steps[0]) == int(num_steps[row]), f"{counts}: {COUNT_CURE}")
        seen = f"{int(num_samples[row])} samples alone make features NaN or infinite: pad what is shorter than a window with zeros"
        require(bool(torch.isfinite(short[:, : steps[0]]).all()), seen)
    return f"steps of 0, 1 and {rate // 200} samples: {num_steps[1:].tolist()}"


def _encoded(trial: Trial, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
    """What the encoder makes of recordings that may be shorter than its first layer looks."""
    try:
        return trial.part(waveform, num_samples)
    except (RuntimeError, ValueError, IndexError) as error:
        cure = "pad the waveform with zeros to what one step looks at, and count the steps of num_samples alone"
        raise ContractViolation(
            f"{num_samples.tolist()} samples cannot be encoded ({type(error).__name__}: {error}): {cure}"
        ) from error


def output(encoder: SpeechEncoder, device: torch.device) -> Tensor:
    """The valid features of the same three recordings, one after the other (N, D)."""
    return _valid(*encoder(*ragged(encoder.sample_rate_hz, device)))


def work(encoder: SpeechEncoder, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Four recordings of equal length, what speed is measured on."""
    return noise([round(seconds * encoder.sample_rate_hz)] * 4, device)


def _valid(features: Tensor, num_steps: Tensor) -> Tensor:
    return torch.cat([row[:steps] for row, steps in zip(features, num_steps.tolist(), strict=True)])


CHECKS: tuple[Check, ...] = (shapes, lengths, padding, batch_against_single, short_audio)
