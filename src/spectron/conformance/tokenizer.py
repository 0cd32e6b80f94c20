"""Checks of the speech tokenizer contract, one function each."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.audio.codes import PADDING
from spectron.batch import unpadded
from spectron.conformance.inputs import garbled, noise, ragged
from spectron.conformance.result import Check, DoesNotApply, Trial, require
from spectron.tokenizers import SpeechTokenizer


def shapes(trial: Trial) -> str:
    """Check that one utterance becomes codes (T, Q) that its codebooks have."""
    tokenizer: SpeechTokenizer = trial.part
    codes, sizes = _alone(trial)[0], tuple(tokenizer.sizes)
    require(
        codes.ndim == 2 and codes.shape[1] == len(sizes) and codes.dtype == torch.long,
        f"encode returns {tuple(codes.shape)} of {codes.dtype} for {len(sizes)} codebooks: return (T, {len(sizes)}) of "
        "torch.long",
    )
    least, most = codes.amin(0).tolist(), codes.amax(0).tolist()
    within = all(low >= 0 and high < size for low, high, size in zip(least, most, sizes, strict=True))
    require(
        within, f"codes go from {least} to {most}, but the codebooks have {sizes}: state the sizes, and count from 0"
    )
    return f"{tokenizer.sample_rate_hz} Hz -> {' x '.join(map(str, codes.shape))} codes of {sizes}"


def lengths(trial: Trial) -> str:
    """Check that there are as many frames as the rate says, to a frame and a half."""
    tokenizer: SpeechTokenizer = trial.part
    _, num_samples = ragged(tokenizer.sample_rate_hz, trial.device)
    expected = (num_samples / tokenizer.sample_rate_hz * tokenizer.rate_hz).tolist()
    counts = [len(codes) for codes in _alone(trial)]
    seen = ", ".join(f"{count} ({wanted:.1f})" for count, wanted in zip(counts, expected, strict=True))
    near = all(abs(count - wanted) <= 1.5 for count, wanted in zip(counts, expected, strict=True))
    require(near, f"frames of three recordings, with the count expected from rate_hz in brackets: {seen}")
    return f"frames of the recordings, expected count in brackets: {seen}"


def batch_against_single(trial: Trial) -> str:
    """Check that a row of a batch has exactly the codes that it has alone, whatever the padding holds."""
    tokenizer: SpeechTokenizer = trial.part
    waveform, num_samples = ragged(tokenizer.sample_rate_hz, trial.device)
    codes, num_frames = tokenizer(garbled(waveform, num_samples), num_samples)
    for row, (found, alone) in enumerate(zip(unpadded(codes, num_frames), _alone(trial), strict=True)):
        require(torch.equal(found, alone), f"row {row} has other codes in a batch than alone: override encode alone")
        rest = codes[row, len(found) :]
        require(bool((rest == PADDING).all()), f"row {row}: places beyond num_frames must hold {PADDING}")
    return "the codes of all rows are equal"


def no_training(trial: Trial) -> str:
    """Check that training mode does not change the codes, and that no parameter trains."""
    tokenizer: SpeechTokenizer = trial.part
    known = _alone(trial)
    tokenizer.train()
    again = _alone(trial)
    tokenizer.eval()
    same = all(torch.equal(one, other) for one, other in zip(known, again, strict=True))
    require(same, "train() changes the codes: keep the tokenizer in eval mode")
    trained = [name for name, parameter in tokenizer.named_parameters() if parameter.requires_grad]
    require(not trained, f"{', '.join(trained[:3])} would train: call requires_grad_(False) in the constructor")
    return "codes are the same in training, and no parameter trains"


def short_audio(trial: Trial) -> str:
    """Check that recordings of no sample and of one sample have codes, perhaps none."""
    waveform, _ = noise([1], trial.device)
    counts = [len(trial.part.encode(waveform[0, :samples])) for samples in (0, 1)]
    require(counts[0] == 0, f"a recording without samples has {counts[0]} frames: return (0, Q)")
    return f"frames of 0 and 1 samples: {counts}"


def fingerprint(trial: Trial) -> str:
    """Check that the same tokenizer has the same fingerprint, and one with a changed weight another."""
    tokenizer: SpeechTokenizer = trial.part
    floats = [value for value in tokenizer.state_dict().values() if value.is_floating_point() and value.numel()]
    if not floats:
        raise DoesNotApply("it has no weights")
    known = tokenizer.digest()
    with torch.no_grad():
        kept = floats[-1].clone()
        floats[-1].add_(1.0)
        changed = tokenizer.digest()
        floats[-1].copy_(kept)
    require(tokenizer.digest() == known, "the fingerprint changes from call to call")
    require(changed != known, "the fingerprint does not depend on the weights")
    return known[:8]


def output(tokenizer: SpeechTokenizer, device: torch.device) -> Tensor:
    """Return the codes of fixed recordings, concatenated, as floats."""
    waveform, num_samples = ragged(tokenizer.sample_rate_hz, device)
    return torch.cat([tokenizer.encode(row).flatten() for row in unpadded(waveform, num_samples)]).float()


def work(tokenizer: SpeechTokenizer, device: torch.device, seconds: float) -> tuple[Tensor, Tensor]:
    """Return four recordings of equal length, for measuring speed."""
    return noise([round(seconds * tokenizer.sample_rate_hz)] * 4, device)


def _alone(trial: Trial) -> list[Tensor]:
    waveform, num_samples = ragged(trial.part.sample_rate_hz, trial.device)
    return [trial.part.encode(row) for row in unpadded(waveform, num_samples)]


CHECKS: tuple[Check, ...] = (shapes, lengths, batch_against_single, no_training, short_audio, fingerprint)
