"""Attention masks in the formats of transformers' models, made from the visibility of each key for each query.

transformers uses a four-dimensional mask unchanged: it replaces both the causal mask and the window of sliding layers.
The window is therefore applied here, by positions and not by places, because a batch has gaps where rows are shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Makes a model's ``attention_mask`` from visibility (B, L, S), positions of queries (B, L) and keys (B, S), a dtype.
MaskMaker = Callable[[Tensor, Tensor, Tensor, torch.dtype], Any]

WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
FULL = "full_attention"


def mask_makers(config: Any) -> dict[str, MaskMaker]:
    """Return the mask formats that a model of this configuration may accept, the most specific first."""
    makers: dict[str, MaskMaker] = {}
    kinds = sorted(set(getattr(config, "layer_types", None) or []))
    if kinds and set(kinds) <= {FULL, *WINDOWS}:
        makers["a mask for each kind of layer"] = lambda *seen: {kind: _of_kind(config, kind, *seen) for kind in kinds}
    if getattr(config, "sliding_window", None) is not None:
        makers["one mask with the model's window"] = lambda *seen: _of_kind(config, "sliding_attention", *seen)
    makers["one mask"] = lambda *seen: _of_kind(config, FULL, *seen)
    makers["valid places alone"] = lambda attention_mask, *_: valid_keys(attention_mask).long()
    return makers


def _of_kind(
    config: Any, kind: str, attention_mask: Tensor, queries: Tensor, keys: Tensor, dtype: torch.dtype
) -> Tensor:
    """Make the additive mask (B, 1, L, S) of one kind of layer."""
    size = getattr(config, WINDOWS[kind]) if kind in WINDOWS else None
    if size is not None and kind == "sliding_attention":
        attention_mask = attention_mask & ((queries[:, :, None] - keys[:, None]).abs() < size)
    elif size is not None:
        attention_mask = attention_mask & (queries[:, :, None] // size == keys[:, None] // size)
    mask = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    return mask.masked_fill(~attention_mask, torch.finfo(dtype).min)[:, None]


def valid_keys(attention_mask: Tensor) -> Tensor:
    """Return the valid keys (B, S) of a visibility (B, L, S): those that another place attends to, and the last one.

    A padded place attends to itself, so that its softmax is not over nothing; that alone does not make it valid.
    """
    new, length = attention_mask.shape[1:]
    itself = torch.arange(length - new, length, device=attention_mask.device)[:, None] == torch.arange(
        length, device=attention_mask.device
    )
    valid = (attention_mask & ~itself).any(1)
    valid[:, -1] = True
    return valid


@contextmanager
def narrow_windows(config: Any, size: int) -> Iterator[None]:
    """Shrink a model's windows for a while, so that a few tokens are enough to test them."""
    before = {name: getattr(config, name) for name in WINDOWS.values() if getattr(config, name, None) is not None}
    try:
        for name in before:
            setattr(config, name, size)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
