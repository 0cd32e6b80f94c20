"""Detection of judges that share weights with the model under test: they would favour it."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

from spectron.errors import ConfigError
from spectron.evaluation.judges.judge import Judge

SMALLEST_TELLING = 1000  # elements; smaller tensors may be equal by chance


def require_independence(judges: list[Judge], model: nn.Module) -> None:
    """Compare every parameter of the judges with the model's parameters of the same shape.

    Parameters of at most 1000 elements, or with a single value (a new normalisation layer), are ignored.

    Raises:
        ConfigError: if a judge contains a tensor that equals one of the model's, naming both.
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
                        f"{judge.title} shares weights with the model under test: its {name} equals the model's "
                        f"{model_name}. Use a judge that was trained separately, on other data or from another seed."
                    )
