"""Derived values of the parts of a model, which no configuration states: rates, widths and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import nn

from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.weights.hub import revision_of


def resolved(parts: Mapping[str, nn.Module], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the derived values as plain values by part and name.

    Args:
        parts: Parts of the model by name.
        config: Section ``model`` of the configuration, which names the hub model of a part.
    """
    found = {}
    for name, part in parts.items():
        arguments = (config.get(name) or {}).get("init_args") or {} if isinstance(config.get(name), dict) else {}
        values = _described(part)
        if (
            values
            and arguments.get("source")
            and (commit := revision_of(arguments["source"], arguments.get("revision")))
        ):
            values["revision"] = commit
        if values:
            found[name] = values
    return found


def _described(part: nn.Module) -> dict[str, Any]:
    """Return the values of a part that its neighbours need."""
    if isinstance(part, SpeechEncoder):
        return {
            "sample_rate_hz": part.sample_rate_hz,
            "frame_rate_hz": part.frame_rate_hz,
            "output_dim": part.output_dim,
        }
    if isinstance(part, LanguageModel):
        kind = type(getattr(part, "lm", part)).__name__  # an adapter's library class
        return {
            "class": kind,
            "hidden_size": part.hidden_size,
            "vocabulary": _vocabulary(part),
            "max_positions": part.max_positions,
        }
    if isinstance(part, SpeechHead):
        return {"frames_per_step": part.frames_per_step, "format": _format(part)}
    return {"sample_rate_hz": part.format.sample_rate_hz, "format": _format(part)} if isinstance(part, Vocoder) else {}


def _format(part: SpeechHead | Vocoder) -> dict[str, Any]:
    """Return the format that a head gives or a vocoder takes."""
    return {"kind": type(part.format).__name__, **asdict(cast(Any, part.format))}


@torch.no_grad()
def _vocabulary(model: LanguageModel) -> int:
    """Return the number of tokens that a language model can write."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return int(model.logits(model.embed(torch.full((1, 1), model.eos_id, device=device))).shape[-1])
