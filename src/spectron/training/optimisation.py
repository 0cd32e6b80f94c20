"""Adam with warm-up, freezing of parameters by pattern, and learning rates by part."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from spectron.errors import ConfigError, TrainingError, did_you_mean
from spectron.processes.ranks import everyone, known_to_all
from spectron.ranges import BelowOne, CountOrZero, NonNegative, checks_ranges


@checks_ranges
@dataclass
class Optimisation:
    """Settings of Adam and its schedule; the defaults are the paper's.

    Args:
        peak_learning_rate: Learning rate at the end of the warm-up.
        warmup_steps: Steps of linear rise.
        schedule: ``inverse_sqrt`` falls with one over the root of the step; ``cosine`` falls to 0 at
            ``trainer.max_steps``.
        weight_decay: Decoupled weight decay of matrices; vectors (norms and biases) have none.
        beta1: Adam's first-moment decay.
        beta2: Adam's second-moment decay.
        part_factors: Learning-rate factor of a part by its name, ``{encoder: 0.1}``; 1 for all other parts. ``null``
            removes the factor that a base gives.
        freeze: Patterns of parameter names that do not train, ``encoder.*``; a pattern without a match is an error.
    """

    peak_learning_rate: NonNegative = 3.5e-4
    warmup_steps: CountOrZero = 8000
    schedule: Literal["inverse_sqrt", "cosine"] = "inverse_sqrt"
    weight_decay: NonNegative = 0.0
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.98
    part_factors: dict[str, NonNegative | None] = field(default_factory=dict)
    freeze: list[str] = field(default_factory=list)


def learning_rate_factor(step: int, settings: Optimisation, max_steps: int) -> float:
    """Return the fraction of the peak learning rate at a step (0-based): linear warm-up, then the schedule."""
    warmup = max(settings.warmup_steps, 1)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "inverse_sqrt":
        return math.sqrt(warmup / (step + 1))
    progress = min((step - warmup) / max(max_steps - warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * progress))


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Freeze every parameter whose name matches a pattern.

    Raises:
        ConfigError: for a pattern that matches no parameter, with a similar pattern that does.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(
                f"{pattern!r} matches no parameter. {_nearest_pattern(pattern, names)}", key="optimisation.freeze"
            )
    for name, parameter in model.named_parameters():
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def _nearest_pattern(pattern: str, names: list[str]) -> str:
    """Suggest the nearest pattern that matches: a module of the model, at any depth, with all its parameters."""
    modules = [name.split(".")[:depth] for name in names for depth in range(1, name.count(".") + 1)]
    return did_you_mean(pattern, (".".join(parts) + ".*" for parts in modules))


def keep_frozen_in_eval(model: nn.Module) -> None:
    """Put every module whose parameters are all frozen into eval mode, after a ``train()``."""
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def parameter_groups(model: nn.Module, settings: Optimisation) -> list[dict[str, Any]]:
    """Group the trainable parameters by learning-rate factor and weight decay.

    Raises:
        ConfigError: if a factor names no part, or every parameter is frozen.
    """
    parts = [name for name, _ in model.named_children()]
    factors = {name: factor for name, factor in settings.part_factors.items() if factor is not None}
    for name in factors:
        if name not in parts:
            raise ConfigError(
                f"{name!r} is no part of the model. {did_you_mean(name, parts)}",
                key="optimisation.part_factors",
                allowed=parts,
            )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factors.get(name.split(".")[0], 1.0), decay), []).append(parameter)
    if not groups:
        raise ConfigError("every parameter is frozen. Remove a pattern", key="optimisation.freeze")
    rate = settings.peak_learning_rate
    return [{"params": p, "lr": rate * factor, "weight_decay": decay} for (factor, decay), p in groups.items()]


def configure(model: nn.Module, settings: Optimisation, max_steps: int) -> dict[str, Any]:
    """Build optimiser and per-step schedule in the form that Lightning expects."""
    optimizer = torch.optim.AdamW(parameter_groups(model, settings), betas=(settings.beta1, settings.beta2))
    factor: Callable[[int], float] = lambda step: learning_rate_factor(step, settings, max_steps)  # noqa: E731 - typed
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def require_finite(value: torch.Tensor, what: str, step: int, ids: list[str]) -> None:
    """Stop the run before a value that is not finite changes the weights; all processes have the same value.

    Raises:
        TrainingError: naming the step and the utterances of the batch, or of the batches of all processes.
    """
    if not torch.isfinite(value):
        batches = [", ".join(batch[:8]) + (" ..." if len(batch) > 8 else "") for batch in everyone(ids)]
        error = TrainingError(
            f"{what} is {value.item()} at step {step}, batch: {'; '.join(batches)}. The last checkpoint is good. "
            "Repair or remove these recordings and resume with --resume, or start a new run with a lower learning "
            "rate, more warmup_steps, or trainer.gradient_clip_val"
        )
        raise known_to_all(error)
