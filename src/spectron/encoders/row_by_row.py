"""Encoding of one recording at a time, and freezing of unused parameters, for encoders of other projects."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def one_by_one(
    encode: Callable[[Tensor, int], Tensor], waveform: Tensor, num_samples: Tensor, shortest: int
) -> tuple[Tensor, Tensor]:
    """Encode every row alone, so that padding has no effect.

    Args:
        encode: Returns the features (U, D) of a recording (1, S), given the number of valid samples in S.
        waveform: (B, S), 0 after the valid samples.
        num_samples: Valid samples (B,).
        shortest: Fewest samples that ``encode`` accepts; a shorter recording is padded with silence.

    Returns:
        Features (B, U, D), padded with 0, and steps (B,) of each row; 0 steps for a row without samples.
    """
    waveform = nn.functional.pad(waveform, (0, max(shortest - waveform.shape[1], 0)))
    rows = [
        encode(row[None, : max(samples, shortest)], samples)
        for row, samples in zip(waveform, num_samples.tolist(), strict=True)
    ]
    num_steps = torch.tensor([len(row) for row in rows], device=num_samples.device).masked_fill(num_samples == 0, 0)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), num_steps


def noise(num_samples: int) -> Tensor:
    """Return quiet noise (1, S), always the same."""
    return 0.1 * torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0))


def keep_statistics(encoder: nn.Module) -> None:
    """Set norms over the whole batch back to eval mode after ``train()``: with batch statistics, rows would mix."""
    for module in encoder.modules():
        if isinstance(module, _BatchNorm) or hasattr(
            module, "update_until_epoch"
        ):  # the latter is speechbrain's global norm
            module.eval()


def rest_unused(encoder: nn.Module, features: Tensor) -> None:
    """Freeze all parameters that ``features`` does not depend on, as distributed training waits for every gradient."""
    used = _parameters_behind(features)
    for parameter in encoder.parameters():
        if id(parameter) not in used:
            parameter.requires_grad_(False)


def _parameters_behind(features: Tensor) -> set[int]:
    """Return the ids of the parameters that the gradient of ``features`` reaches."""
    queue, seen, found = [features.grad_fn], set(), set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        queue += [following for following, _ in node.next_functions]
    return found
