"""Special tokens of a language model: missing ones are added, and no text can contain them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from spectron.errors import ConfigError, DataError

END_OF_TEXT = "<|end_of_text|>"
TEXT_SHOWN = 60  # characters of a text in a message


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


def plain_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, without start and end tokens.

    ``</s>`` in a text becomes the tokens of its four letters, never the token that ends a text.

    Args:
        tokenizer: A tokenizer of transformers.
        texts: The texts.

    Raises:
        DataError: if the tokenizer can only write a part of a text as a special token.
    """
    if not texts:  # the library needs at least one
        return []
    rows = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    marked = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    control = {*marked, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    require_plain(texts, rows, control | ends, tokenizer.convert_ids_to_tokens)
    return rows


def require_plain(
    texts: Sequence[str], rows: Sequence[Sequence[int]], control: Collection[int], name: Callable[[int], object]
) -> None:
    """Refuse texts whose tokens contain a special token.

    Args:
        texts: The texts.
        rows: The token ids of each text.
        control: Ids of special tokens.
        name: Function that returns the text of a token.

    Raises:
        DataError: naming the text and the token.
    """
    forbidden = frozenset(control)
    for text, row in zip(texts, rows, strict=True):
        if found := forbidden.intersection(row):
            raise DataError(
                f"the text {text[:TEXT_SHOWN]!r} contains {name(min(found))!r}, which this language model's tokenizer "
                "can only write as its special token: remove it from the text"
            )


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
