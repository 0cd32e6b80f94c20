"""Attention masks in the forms that transformers' models take, made from who may look at whom.

A four-dimensional mask is taken as it is: it replaces a model's own, the causal part and the window of sliding layers alike. The window
is therefore cut here, by positions and not by places, because a batch has gaps where rows are shorter than others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Makes what a model takes as ``attention_mask`` from attention_mask (B, L, S), the positions of queries (B, L) and keys (B, S), and a dtype.
MaskMaker = Callable[[Tensor, Tensor, Tensor, torch.dtype], Any]

WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
FULL = "full_attention"


def mask_makers(config: Any) -> dict[str, MaskMaker]:
    """The forms that a model of this configuration may take, the most particular first."""
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
    """Additive mask (B, 1, L, S) of one kind of layer."""
    size = getattr(config, WINDOWS[kind]) if kind in WINDOWS else None
    if size is not None and kind == "sliding_attention":
        attention_mask = attention_mask & ((queries[:, :, None] - keys[:, None]).abs() < size)
    elif size is not None:
        attention_mask = attention_mask & (queries[:, :, None] // size == keys[:, None] // size)
    mask = torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device)
    return mask.masked_fill(~attention_mask, torch.finfo(dtype).min)[:, None]


def valid_keys(attention_mask: Tensor) -> Tensor:
    """Which keys count, (B, S), from who may look at whom, (B, L, S): those that another place sees, and the last.

    A padded place sees itself, so that its softmax is over something; that alone does not make it valid.
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
    """Shrink a model's windows for a while, so that a few tokens are enough to see whether they are kept."""
    before = {name: getattr(config, name) for name in WINDOWS.values() if getattr(config, name, None) is not None}
    try:
        for name in before:
            setattr(config, name, size)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
