"""What the platform finds out about an encoder by letting it hear noise: width and rate of its features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from spectron.errors import ConfigError

PROBE_SECONDS = (1, 3)
# The two recordings are so far apart, and each end may round by half a step.
RATE_TOLERANCE_HZ = 1 / (PROBE_SECONDS[1] - PROBE_SECONDS[0])
TRANSPOSED = "They look transposed: give (recordings, steps, width), with features.transpose(1, 2)"


class Probed:
    """An attribute of an encoder that need not be written down: where it is not, the encoder hears some noise and tells."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, encoder: Any, owner: type) -> Any:
        # Reached only where the encoder has set no value of its own.
        if encoder is None:
            return self
        try:
            width, rate = probe(encoder)
        except AttributeError as error:
            # Torch would take it for its own answer to a name that it does not know, and report this attribute as missing.
            raise RuntimeError(str(error)) from error
        encoder.require_rate(rate)
        encoder.output_dim, encoder.frame_rate_hz = width, vars(encoder).get("frame_rate_hz", rate)
        return vars(encoder)[self.name]


@torch.no_grad()
def probe(encoder: Any) -> tuple[int, float]:
    """Width of an encoder's features, and features a second, found by encoding a short and a longer noise.

    The difference of the two lengths counts: what an encoder loses or adds at the ends of a recording drops out.

    Raises:
        ConfigError: where its lengths or its widths are no lengths or widths.
    """
    with _hearing(encoder) as (noise, num_samples):
        features, num_steps = encoder.tried(noise, num_samples)
        alone = encoder.tried(noise[:1, : int(num_samples[0])], num_samples[:1])[0]
    if alone.shape[2] != features.shape[2]:
        raise ConfigError(
            f"forward gives features {shown(alone)} for a second and {shown(features)} for three. {TRANSPOSED}"
        )
    short, long = PROBE_SECONDS
    if num_steps[0] >= num_steps[1]:
        raise ConfigError(
            f"{short} and {long} s of audio make {num_steps.tolist()} steps. Count num_steps from each row's num_samples"
        )
    return int(features.shape[-1]), float(num_steps[1] - num_steps[0]) / (long - short)


@torch.no_grad()
def counted_rate(encoder: Any) -> float:
    """Features a second of a short and a longer noise, each alone: 0 where every recording makes as many."""
    with _hearing(encoder) as (noise, num_samples):
        steps = [
            int(encoder.tried(row[None, :samples], num_samples[i : i + 1])[1])
            for i, (row, samples) in enumerate(zip(noise, num_samples.tolist(), strict=True))
        ]
    return (steps[1] - steps[0]) / (PROBE_SECONDS[1] - PROBE_SECONDS[0])


@contextmanager
def _hearing(encoder: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Noise (2, S) with (2,) samples of ``PROBE_SECONDS``, for an encoder in eval mode."""
    encoder.require_set_up()
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    num_samples = torch.tensor([seconds * encoder.sample_rate_hz for seconds in PROBE_SECONDS], device=device)
    noise = 0.1 * torch.randn(2, int(num_samples.max()), generator=torch.Generator().manual_seed(0)).to(device)
    was_training = encoder.training
    encoder.eval()
    try:
        yield noise, num_samples
    finally:
        encoder.train(was_training)


def shown(value: object) -> str:
    """A value by type and shape."""
    if isinstance(value, Tensor):
        return f"a tensor ({', '.join(map(str, value.shape))}) of {value.dtype}"
    return f"({', '.join(map(shown, value))})" if isinstance(value, tuple) else f"a {type(value).__name__}"
