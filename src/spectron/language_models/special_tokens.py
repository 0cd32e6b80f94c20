"""The special tokens that a spoken language model needs of a text model, added where they are missing."""

from __future__ import annotations

from typing import Any

import torch

from spectron.errors import ConfigError

END_OF_TEXT = "<|end_of_text|>"


def require_vocabulary(tokenizer: Any, lm: Any, name: str) -> None:
    """Refuse a tokenizer whose ids a model has no embeddings for; spare embeddings are usual.

    Raises:
        ConfigError: with both sizes.
    """
    rows = lm.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens and its model embeddings for {rows}: they do not belong "
            "together. Put the model's own tokenizer into the folder, or resize the model's embeddings and save it again",
            key="source",
        )


def ensure_end_of_text(tokenizer: Any, lm: Any) -> int:
    """Id of the token that ends a text; a model that knows none gets one, all its other ids and weights staying what they are."""
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": END_OF_TEXT})
        if len(tokenizer) > lm.get_input_embeddings().num_embeddings:
            add_rows(lm, len(tokenizer))
    return int(tokenizer.eos_token_id)


@torch.no_grad()
def add_rows(lm: Any, size: int) -> None:
    """Grow the embeddings, and the output layer with them, to ``size`` rows; new ones are the mean of the old.

    The mean makes a token that is as likely as tokens are on average, and leaves the order of the others as it was.
    """
    old = lm.get_input_embeddings().num_embeddings
    lm.resize_token_embeddings(size, mean_resizing=False)
    layers = (lm.get_input_embeddings(), lm.get_output_embeddings())
    for weight in {id(layer.weight): layer.weight for layer in layers if layer is not None}.values():
        weight[old:] = weight[:old].float().mean(0).to(weight.dtype)
