"""Special tokens that a spoken language model needs; missing ones are added to the text model."""

from __future__ import annotations

from typing import Any

import torch

from spectron.errors import ConfigError

END_OF_TEXT = "<|end_of_text|>"


def require_vocabulary(tokenizer: Any, lm: Any, name: str) -> None:
    """Refuse a tokenizer with more tokens than the model has embeddings; spare embeddings are usual.

    Raises:
        ConfigError: with the key ``source`` and both sizes.
    """
    rows = lm.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens, but its model has embeddings for {rows}. Put the "
            "model's own tokenizer into the folder, or resize the model's embeddings and save it again",
            key="source",
        )


def ensure_end_of_text(tokenizer: Any, lm: Any) -> int:
    """Return the id of the token that ends a text; add one if the model has none. Other ids and weights stay."""
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": END_OF_TEXT})
        if len(tokenizer) > lm.get_input_embeddings().num_embeddings:
            add_rows(lm, len(tokenizer))
    return int(tokenizer.eos_token_id)


@torch.no_grad()
def add_rows(lm: Any, size: int) -> None:
    """Grow the embeddings and the output layer to ``size`` rows; each new row is the mean of the old ones.

    The mean gives the new token an average probability and does not change the order of the others.
    """
    old = lm.get_input_embeddings().num_embeddings
    lm.resize_token_embeddings(size, mean_resizing=False)
    layers = (lm.get_input_embeddings(), lm.get_output_embeddings())
    for weight in {id(layer.weight): layer.weight for layer in layers if layer is not None}.values():
        weight[old:] = weight[:old].float().mean(0).to(weight.dtype)
