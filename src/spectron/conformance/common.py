"""Checks that apply to every part, whatever its contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spectron.conformance.result import FINITE, ContractViolation, DoesNotApply, Trial, require, require_close

REACHED_FRACTION = 0.95  # of trainable numbers; a library's model may hold a few for its own pre-training only
PATIENCE_SECONDS = 3.0

Output = Callable[[Any, torch.device], Tensor]


def gradient_or_frozen(trial: Trial, output: Output) -> str:
    """Check that gradients reach the trainable parameters; report the frozen ones."""
    trainable = {name: p for name, p in trial.part.named_parameters() if p.requires_grad}
    count = sum(p.numel() for p in trainable.values())
    frozen = sum(p.numel() for p in trial.part.parameters()) - count
    if not trainable:
        if not frozen:
            raise DoesNotApply("it has no parameters")
        return f"frozen: {frozen:,} parameters"
    trial.part.zero_grad()
    value = output(trial.part, trial.device).float()
    cure = "Remove torch.no_grad and detach from forward, or freeze the part"
    require(value.requires_grad, f"{count:,} parameters are trainable, but no gradient reaches them. {cure}")
    value.square().mean().backward()
    unreached = [name for name, p in trainable.items() if p.grad is None]
    broken = [name for name, p in trainable.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    trial.part.zero_grad()
    require(not broken, f"the gradient of {', '.join(broken[:3])} is NaN or infinite: {FINITE}")
    missed = sum(trainable[name].numel() for name in unreached)
    seen = f"no gradient reaches {missed:,} of {count:,} trainable parameters ({', '.join(unreached[:3])})"
    require(missed <= (1 - REACHED_FRACTION) * count, f"{seen}. {cure}")
    return f"{count:,} trainable, {frozen:,} frozen" + (f"; {seen}" if unreached else "")


def determinism_in_eval(trial: Trial, output: Output) -> str:
    """Check that the same input gives the same output in eval mode."""
    torch.manual_seed(1)
    first = output(trial.part, trial.device)
    torch.manual_seed(2)
    again = output(trial.part, trial.device)
    cure = "Apply dropout and noise only if self.training is set, and draw other random numbers from `random`"
    return f"two runs differ by {require_close(again, first, f'two runs in eval mode differ ({cure})'):.1e}"


def state_dict_round_trip(trial: Trial, output: Output) -> str:
    """Check that the part gives the same output after a rebuild from another seed and loading its state dict."""
    state = {name: tensor.detach().clone() for name, tensor in trial.part.state_dict().items()}
    other = trial.fresh().to(trial.device).eval()
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        cure = "Build every module and buffer in the constructor, with sizes that depend only on its arguments"
        seen = "its state dict does not load into the same part built again"
        raise ContractViolation(f"{seen}: {reason} {cure}") from error
    cure = "Register every tensor that it needs as a parameter, a buffer or a module"
    seen = f"built again and loaded from its state dict, it gives another output ({cure})"
    require_close(output(other, trial.device), output(trial.part, trial.device), seen)
    return (
        f"{len(state)} tensors, {sum(tensor.numel() * tensor.element_size() for tensor in state.values()) / 1e6:.3g} MB"
    )


@torch.inference_mode()
def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of a few runs; a slow part runs once."""
    taken: list[float] = []
    while len(taken) < 4 and sum(taken) < PATIENCE_SECONDS:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken)
