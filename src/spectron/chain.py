"""The chain of thought: the text between prompt and speech, which the model writes or which stands there in its place.

    written, given:  [ prompt | sos, text           | eos, speech ]
    none:            [ prompt | sos                 | eos, speech ]    the sequence that training makes of an empty text
    null:            [ prompt | sos, n further sos  | eos, speech ]

A null token is the token that starts texts, said again: of those that every language model has it is the one that says nothing and
does not begin the speech (in families without one, such as GPT-2, it is the end token too). A model trained on true texts alone has
seen neither ``none`` nor ``null``; ``SpectronModel.chain`` trains one on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectron.batch import Prompts
from spectron.contracts import Decoding, LanguageModel
from spectron.errors import ConfigError
from spectron.generation import DecodingState, decode_text


@dataclass
class Texts:
    """The texts of a batch, and their two halves or None; see ``Continuation``."""

    whole: list[str]
    transcript: list[str] | None
    continuation: list[str] | None


def think(state: DecodingState, prompts: Prompts, decoding: Decoding, mark: str) -> Texts:
    """Put what ``decoding.chain`` says behind the prompts, up to the token that starts the speech; ``mark`` divides the texts.

    Raises:
        ConfigError: if true texts are asked for and the prompts have none.
    """
    lm, rows = state.language_model, len(prompts.ids)
    if decoding.chain == "written":
        texts = lm.detokenize(decode_text(state, decoding, prompts.ids))
        return Texts(texts, *split_texts(texts, mark))
    if decoding.chain == "given":
        pairs = true_texts(prompts)
        texts = [mark.join(pair) for pair in pairs]
        inputs, _, valid = lm.text_sequence(texts)
        state.extend(lm.embed(inputs), valid)
        return Texts(texts, [before for before, _ in pairs], [after for _, after in pairs])
    nulls = decoding.null_tokens if decoding.chain == "null" else 0
    inputs = null_tokens(lm, rows, nulls, state.keys.device)
    state.extend(lm.embed(inputs), torch.ones_like(inputs, dtype=torch.bool))
    return Texts([""] * rows, None, None)


def null_tokens(language_model: LanguageModel, rows: int, count: int, device: torch.device) -> Tensor:
    """The token that starts a text and ``count`` that say nothing: (B, 1 + count)."""
    return torch.full((rows, 1 + count), language_model.sos_id, device=device)


def true_texts(prompts: Prompts) -> list[tuple[str, str]]:
    """Transcript and continuation of every row.

    Raises:
        ConfigError: naming the rows that have neither.
    """
    pairs = prompts.texts or [("", "")] * len(prompts.ids)
    missing = [name for name, pair in zip(prompts.ids, pairs, strict=True) if not any(pair)]
    if missing:
        raise ConfigError(
            f"decoding.chain: given needs true texts, and {', '.join(missing[:5])}{', ...' * (len(missing) > 5)} have none: give "
            "transcript and continuation, or take another chain"
        )
    return pairs


def split_texts(texts: list[str], mark: str) -> tuple[list[str] | None, list[str] | None]:
    """Transcripts and continuations of whole texts; None where no mark stands between them."""
    mark = mark.strip()
    if not mark:
        return None, None
    halves = [text.partition(mark) for text in texts]
    return [before.strip() for before, _, _ in halves], [after.strip() for _, _, after in halves]
