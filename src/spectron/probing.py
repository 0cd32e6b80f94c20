"""Width and frame rate of an encoder that does not state them, measured on noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spectron.errors import ConfigError

PROBE_SECONDS = (1, 5)
# Each count of steps may be rounded by half a step.
RATE_TOLERANCE_HZ = 1 / (PROBE_SECONDS[1] - PROBE_SECONDS[0])
PAIR = "Return the pair features (B, U, D), num_steps (B,)"
TRANSPOSED = "They look transposed: return (recordings, steps, width), with features.transpose(1, 2)"


class Probed:
    """An attribute of an encoder that need not be set: the first access encodes some noise and measures it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, encoder: Any, owner: type) -> Any:
        # Python calls this only if the encoder has not set the attribute itself.
        if encoder is None:
            return self
        try:
            width, rate = probe(encoder)
        except ConfigError as error:
            raise ConfigError(f"{type(encoder).__name__}: {error.message}", key="encoder") from error
        except AttributeError as error:
            # nn.Module would take an AttributeError for its own and report that this attribute is missing.
            raise RuntimeError(str(error)) from error
        for name, value in (("output_dim", width), ("frame_rate_hz", rate)):
            vars(encoder).setdefault(name, value)
        return vars(encoder)[self.name]


@torch.no_grad()
def probe(encoder: Any) -> tuple[int, float]:
    """Return the width of an encoder's features and its features per second.

    The encoder reads a short and a long recording of noise, one at a time. The rate comes from the difference of their
    step counts, so that steps which an encoder adds or drops at the ends of a recording cancel. It is 0 for an encoder
    that gives equally many steps for every recording.

    Raises:
        ConfigError: if the encoder does not return features and step counts.
    """
    require_set_up(encoder)
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    noise = 0.1 * torch.randn(
        1, PROBE_SECONDS[1] * encoder.sample_rate_hz, generator=torch.Generator().manual_seed(0)
    ).to(device)
    num_samples = [seconds * encoder.sample_rate_hz for seconds in PROBE_SECONDS]
    with in_eval(encoder):
        (short, few), (long, many) = (
            encode_checked(encoder, noise[:, :count], torch.tensor([count], device=device)) for count in num_samples
        )
    if short.shape[2] != long.shape[2]:
        raise ConfigError(
            f"forward returns features {shown(short)} for {PROBE_SECONDS[0]} s and {shown(long)} for "
            f"{PROBE_SECONDS[1]} s. {TRANSPOSED}"
        )
    return short.shape[2], (int(many) - int(few)) / (PROBE_SECONDS[1] - PROBE_SECONDS[0])


def require_set_up(encoder: Any) -> None:
    """Refuse an encoder whose constructor is incomplete.

    Raises:
        ConfigError: stating what is missing.
    """
    if "_modules" not in vars(encoder):
        raise ConfigError("its constructor does not call super().__init__(). Call it first")
    rate = getattr(encoder, "sample_rate_hz", None)
    if not isinstance(rate, int) or rate <= 0:
        said = "sets no sample_rate_hz" if rate is None else f"sets sample_rate_hz to {rate!r}"
        raise ConfigError(
            f"it {said}. Set self.sample_rate_hz in its constructor to the rate of its input waveform, such as 16000"
        )


def encode_checked(encoder: Any, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
    """Encode (B, S) audio with (B,) valid samples, and check types and shapes of the result.

    Raises:
        ConfigError: stating what the encoder returns instead.
    """
    result = encoder(waveform, num_samples)
    if not (isinstance(result, tuple) and len(result) == 2 and all(isinstance(tensor, Tensor) for tensor in result)):
        raise ConfigError(f"forward returns {shown(result)}. {PAIR}")
    features, num_steps = result
    if features.ndim != 3 or len(features) != len(waveform) or not features.is_floating_point():
        raise ConfigError(f"forward returns features {shown(features)} for {len(waveform)} recordings. {PAIR}")
    if num_steps.shape != num_samples.shape or num_steps.dtype != torch.long:
        raise ConfigError(f"forward returns num_steps {shown(num_steps)}. Count whole steps: (B,) of torch.long")
    if num_steps.device != features.device:
        raise ConfigError(
            f"forward returns features on {features.device} and num_steps on {num_steps.device}. "
            "Derive num_steps from num_samples"
        )
    counts, width = num_steps.tolist(), features.shape[2]
    out_of_range = max(counts) > features.shape[1] or min(counts) < 0
    stated = vars(encoder).get("output_dim", width)
    if (out_of_range or stated != width) and max(counts) == width:
        raise ConfigError(f"forward returns features {shown(features)} and {counts} steps. {TRANSPOSED}")
    if out_of_range:
        raise ConfigError(
            f"forward returns {counts} valid steps of {features.shape[1]}. Count the steps that it makes of num_samples"
        )
    if stated != width:
        raise ConfigError(f"output_dim is {stated}, but its features are {width} wide. Remove output_dim")
    return features, num_steps


@contextmanager
def in_eval(part: nn.Module) -> Iterator[None]:
    """Put a part into eval mode for a while; each of its modules then gets its own mode back."""
    modes = {module: module.training for module in part.modules()}
    part.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def shown(value: object) -> str:
    """Describe a value by type and shape."""
    if isinstance(value, Tensor):
        return f"a tensor ({', '.join(map(str, value.shape))}) of {value.dtype}"
    return f"({', '.join(map(shown, value))})" if isinstance(value, tuple) else f"a {type(value).__name__}"
