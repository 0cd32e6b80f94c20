"""What every part is held to, whatever its contract."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spectron.conformance.result import FINITE, ContractViolation, DoesNotApply, Trial, require, require_close

REACHED_SHARE = 0.95  # of trainable numbers; a library's model may hold a few that only its own pre-training uses
PATIENCE_SECONDS = 3.0

Output = Callable[[Any, torch.device], Tensor]


def gradient_or_frozen(trial: Trial, output: Output) -> str:
    """Gradients reach what is trainable; what is frozen is told."""
    trainable = {name: p for name, p in trial.part.named_parameters() if p.requires_grad}
    count = sum(p.numel() for p in trainable.values())
    frozen = sum(p.numel() for p in trial.part.parameters()) - count
    if not trainable:
        if not frozen:
            raise DoesNotApply("it has no parameters")
        return f"frozen: {frozen:,} parameters"
    trial.part.zero_grad()
    value = output(trial.part, trial.device).float()
    cure = "Take torch.no_grad and detach out of forward, or freeze the part"
    require(value.requires_grad, f"{count:,} parameters are trainable and no gradient reaches them. {cure}")
    value.square().mean().backward()
    unreached = [name for name, p in trainable.items() if p.grad is None]
    broken = [name for name, p in trainable.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
    trial.part.zero_grad()
    require(not broken, f"the gradient of {', '.join(broken[:3])} is NaN or infinite: {FINITE}")
    missed = sum(trainable[name].numel() for name in unreached)
    seen = f"no gradient reaches {missed:,} of {count:,} trainable parameters ({', '.join(unreached[:3])})"
    require(missed <= (1 - REACHED_SHARE) * count, f"{seen}. {cure}")
    return f"{count:,} trainable, {frozen:,} frozen" + (f"; {seen}" if unreached else "")


def determinism_in_eval(trial: Trial, output: Output) -> str:
    """In eval mode the same input gives the same output."""
    torch.manual_seed(1)
    first = output(trial.part, trial.device)
    torch.manual_seed(2)
    again = output(trial.part, trial.device)
    cure = "Make dropout and noise ask self.training, and draw what must be random from the row"
    return f"two runs differ by {require_close(again, first, f'two runs in eval mode differ ({cure})'):.1e}"


def state_dict_round_trip(trial: Trial, output: Output) -> str:
    """Built anew from another seed and filled from the state dict, the part gives the same."""
    state = {name: tensor.detach().clone() for name, tensor in trial.part.state_dict().items()}
    other = trial.fresh().to(trial.device).eval()
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        told = str(error).splitlines()[-1].strip()
        cure = "build every module and buffer in the constructor, of sizes that its arguments alone decide"
        raise ContractViolation(f"its state dict does not load into the same part built anew: {told} {cure}") from error
    cure = "Register every tensor that it needs as a parameter, a buffer or a module"
    seen = f"built anew and filled from its state dict it gives something else ({cure})"
    require_close(output(other, trial.device), output(trial.part, trial.device), seen)
    return (
        f"{len(state)} tensors, {sum(tensor.numel() * tensor.element_size() for tensor in state.values()) / 1e6:.3g} MB"
    )


@torch.inference_mode()
def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few runs; a part that takes long is run once."""
    taken: list[float] = []
    while len(taken) < 4 and sum(taken) < PATIENCE_SECONDS:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken)
