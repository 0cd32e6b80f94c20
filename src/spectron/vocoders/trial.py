"""Whether a vocoder speaks as long as its frames last, found out on a few frames when it is built and not after hours of training."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.contracts import Vocoder
from spectron.errors import ConfigError

FRAMES = (12, 7)  # of the two rows that are tried
SLACK_HOPS = 2  # what ends of frames may add or take away


@torch.no_grad()
def require_waveform(vocoder: Vocoder) -> None:
    """Refuse a vocoder that does not make about ``mel.hop_samples`` samples of every frame.

    Raises:
        ConfigError: beginning with ``vocoder``.
    """
    was_training = [module for module in vocoder.modules() if module.training]
    device = next((tensor.device for tensor in (*vocoder.parameters(), *vocoder.buffers())), torch.device("cpu"))
    num_frames = torch.tensor(FRAMES, device=device)
    vocoder.eval()
    try:
        result = vocoder(torch.zeros(len(FRAMES), max(FRAMES), vocoder.mel.n_mels, device=device), num_frames)
    finally:
        for module in was_training:
            module.training = True
    name, due = type(vocoder).__name__, num_frames * vocoder.mel.hop_samples
    if not (isinstance(result, tuple) and len(result) == 2 and all(isinstance(tensor, Tensor) for tensor in result)):
        raise ConfigError(
            f"{name}: forward gives a {type(result).__name__}. Return the pair waveform (B, S), num_samples (B,)"
        )
    waveform, num_samples = result
    if waveform.ndim != 2 or num_samples.shape != num_frames.shape or num_samples.is_floating_point():
        raise ConfigError(
            f"{name}: forward gives tensors {tuple(waveform.shape)} and {tuple(num_samples.shape)} of {num_samples.dtype} for "
            f"{len(FRAMES)} rows of frames. Return waveform (B, S) and whole num_samples (B,)"
        )
    made, counted = f"of {max(FRAMES)} frames", num_samples.tolist()
    if max(counted) > waveform.shape[1]:
        raise ConfigError(
            f"{name}: forward makes {waveform.shape[1]} samples {made} and counts {counted} valid ones. Make "
            f"mel.hop_samples={vocoder.mel.hop_samples} of every frame, or count what it makes"
        )
    if bool(((num_samples - due).abs() > SLACK_HOPS * vocoder.mel.hop_samples).any()):
        raise ConfigError(
            f"{name}: forward counts {counted} samples in rows of {list(FRAMES)} frames, which last {due.tolist()}: its speech would be "
            f"too {'short' if int(num_samples.sum()) < int(due.sum()) else 'long'}. Make mel.hop_samples={vocoder.mel.hop_samples} of "
            "every frame, or set the speech head's mel to the frames that it was made for"
        )
