"""Devices by name."""

from __future__ import annotations

import torch

from spectron.errors import ConfigError


def device_called(name: str | None = None) -> torch.device:
    """Return a device of this machine; without a name, a GPU if available.

    Raises:
        ConfigError: if the machine has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # what torch raises depends on the kind of device
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ConfigError(
            f"--device {name}: this machine has no such device. Torch sees {', '.join(there)} here"
        ) from error
    return device
