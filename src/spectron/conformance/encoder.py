"""Checks of the speech encoder contract, one function each."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import FINITE, Check, ContractViolation, Trial, require, require_close
from spectron.contracts import SpeechEncoder
from spectron.probing import RATE_TOLERANCE_HZ, encode_checked, probe, require_set_up

STEP_TOLERANCE = 2.5  # encoder steps that windows may add or drop at the ends of a recording
COUNT_CURE = "count num_steps from each row's num_samples, not from the padded tensor"
WAVEFORM_CURE = (
    "mask the waveform, and mask the input of every layer that mixes neighbouring steps (convolution, attention, "
    "normalisation) beyond the lengths"
)


def shapes(trial: Trial) -> str:
    """Check that the encoder returns (B, U, D) features and (B,) steps of the width and rate that it states."""
    encoder: SpeechEncoder = trial.part
    require_set_up(encoder)
    waveform, num_samples = ragged(encoder.sample_rate_hz, trial.device)
    features, num_steps = encode_checked(encoder, waveform, num_samples)
    counted = probe(encoder)[1]
    stated = vars(encoder).get("frame_rate_hz", counted)
    require(
        abs(stated - counted) <= RATE_TOLERANCE_HZ,
        f"{type(encoder).__name__} sets frame_rate_hz to {stated:g}, but returns {counted:g} steps per second. "
        "Remove the attribute: the platform measures it",
    )
    require(bool(torch.isfinite(_valid(features, num_steps)).all()), f"valid features are NaN or infinite: {FINITE}")
    seen = f"{' x '.join(map(str, waveform.shape))} samples -> {' x '.join(map(str, features.shape))}"
    return f"{seen}, {encoder.sample_rate_hz} Hz -> {encoder.frame_rate_hz:.5g} features/s of {encoder.output_dim}"


def lengths(trial: Trial) -> str:
    """Check that the number of steps follows from duration and frame rate."""
    encoder: SpeechEncoder = trial.part
    waveform, num_samples = ragged(encoder.sample_rate_hz, trial.device)
    num_steps = encoder(waveform, num_samples)[1]
    expected = num_samples / encoder.sample_rate_hz * encoder.frame_rate_hz
    pairs = zip(num_steps.tolist(), expected.tolist(), strict=True)
    seen = ", ".join(f"{steps} ({wanted:.1f})" for steps, wanted in pairs)
    require(
        bool(((num_steps - expected).abs() <= STEP_TOLERANCE).all()),
        f"steps of the rows, with the count expected from frame_rate_hz in brackets: {seen}. Count num_steps from "
        "each row's num_samples, not from the padded tensor, and make frame_rate_hz agree with them",
    )
    longest = int(num_samples.argmax())
    made = encoder(waveform[longest : longest + 1], num_samples[longest : longest + 1])[0].shape[1]
    uncounted = made - int(num_steps[longest])
    # A last step that is not full may be left out on purpose; it may also be a mistake that cuts every recording.
    hint = f"; the longest row has {made} steps, of which {uncounted} are not counted: is that intended?"
    return f"steps of the rows, expected count in brackets: {seen}{hint if uncounted else ''}"


def padding(trial: Trial) -> str:
    """Check that noise in the padding does not change a valid feature."""
    waveform, num_samples = ragged(trial.part.sample_rate_hz, trial.device)
    features, num_steps = trial.part(waveform, num_samples)
    again, same_steps = trial.part(garbled(waveform, num_samples), num_samples)
    same = bool((same_steps == num_steps).all())
    require(same, f"more padding changes {num_steps.tolist()} steps to {same_steps.tolist()}: {COUNT_CURE}")
    seen = f"noise in the padding changes valid features: {WAVEFORM_CURE}"
    return f"valid features change by {require_close(_valid(again, num_steps), _valid(features, num_steps), seen):.1e}"


def batch_against_single(trial: Trial) -> str:
    """Check that each row of a batch gives what it gives alone."""
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
    """Check that rows of no sample, one sample and 5 ms are encoded, in a batch and alone, and change no other row."""
    rate = trial.part.sample_rate_hz
    waveform, num_samples = noise([rate // 2, 0, 1, rate // 200], trial.device)
    features, num_steps = _encoded(trial, waveform, num_samples)
    negative = f"recordings of {num_samples.tolist()} samples have {num_steps.tolist()} steps: clamp them at 0"
    require(bool((num_steps >= 0).all()), negative)
    seen = (
        "an empty row in a batch makes features NaN or infinite: clamp lengths at 1 before dividing by them, and mask "
        "attention with a large negative number, not with -inf"
    )
    require(bool(torch.isfinite(_valid(features, num_steps)).all()), seen)
    alone, steps = trial.part(waveform[:1, : rate // 2], num_samples[:1])
    seen = f"an empty row in a batch changes another row: {WAVEFORM_CURE}"
    require_close(features[0, : steps[0]], alone[0, : steps[0]], seen)
    for row in (2, 3):
        count = int(num_samples[row])
        short, steps = _encoded(trial, waveform[row : row + 1, :count], num_samples[row : row + 1])
        counts = f"{count} samples have {int(num_steps[row])} steps in a batch and {int(steps[0])} alone"
        require(int(steps[0]) == int(num_steps[row]), f"{counts}: {COUNT_CURE}")
        seen = f"{count} samples alone make features NaN or infinite: pad recordings shorter than a window with zeros"
        require(bool(torch.isfinite(short[:, : steps[0]]).all()), seen)
    return f"steps of 0, 1 and {rate // 200} samples: {num_steps[1:].tolist()}"


def output(encoder: SpeechEncoder, device: torch.device) -> Tensor:
    """Return the valid features of three fixed recordings, concatenated (N, D)."""
    return _valid(*encoder(*ragged(encoder.sample_rate_hz, device)))


def work(encoder: SpeechEncoder, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Return four recordings of equal length, for measuring speed."""
    return noise([round(seconds * encoder.sample_rate_hz)] * 4, device)


def _encoded(trial: Trial, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
    """Encode recordings that may be shorter than the receptive field of the encoder's first layer."""
    try:
        return trial.part(waveform, num_samples)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ContractViolation(
            f"{num_samples.tolist()} samples cannot be encoded ({type(error).__name__}: {error}): pad the waveform "
            "with zeros to the length that one step needs, and count num_steps from num_samples alone"
        ) from error


def _valid(features: Tensor, num_steps: Tensor) -> Tensor:
    return torch.cat([row[:steps] for row, steps in zip(features, num_steps.tolist(), strict=True)])


CHECKS: tuple[Check, ...] = (shapes, lengths, padding, batch_against_single, short_audio)
