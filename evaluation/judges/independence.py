"""A judge that shares weights with the model under test would praise its own work: this finds one."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

from spectron.errors import ConfigError
from spectron.evaluation.judges.judge import Judge

SMALLEST_TELLING = 1000  # elements; below, equality may be chance


def require_independence(judges: list[Judge], model: nn.Module) -> None:
    """Compare every parameter of the judges with the model's parameters of the same shape.

    Parameters of at most 1000 elements or of one value throughout (a fresh normalisation layer) tell nothing and are left out.

    Raises:
        ConfigError: if a judge holds a tensor equal to one of the model's, naming both.
    """
    by_shape = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.numel() > SMALLEST_TELLING:
            by_shape[parameter.shape].append((name, parameter.detach()))
    for judge in judges:
        for name, weights in judge.named_parameters():
            for model_name, model_weights in by_shape.get(weights.shape, []):
                if (
                    torch.equal(weights.detach().float(), model_weights.float().to(weights.device))
                    and weights.min() != weights.max()
                ):
                    raise ConfigError(
                        f"{judge.title} shares weights with the model that it would judge: its {name} equals the model's {model_name}. "
                        "Take a judge that was trained apart, on other data or from another seed."
                    )
