"""Decoding of segment after segment, in one cached pass over a batch.

Rows of different lengths share a batch. Padding is never visible and takes no position, so that each row gives what it
gives alone. The KV cache therefore has gaps, and ``DecodingState`` records where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spectron.audio.mel import padding_mask
from spectron.contracts import Decoding, LanguageModel
from spectron.randomness import RowRandom


def visibility(keys: Tensor, new: int, bidirectional: bool = False) -> Tensor:
    """Compute which keys the last ``new`` places may attend to.

    Args:
        keys: (B, L) validity of all places so far, including the new ones.
        new: Number of query places, the last of L.
        bidirectional: New places also attend to the valid new places after them.

    Returns:
        (B, new, L) booleans. Every place attends to itself, also at padding: a softmax over nothing would be NaN.
    """
    length = keys.shape[1]
    query = torch.arange(length - new, length, device=keys.device)[:, None]
    key = torch.arange(length, device=keys.device)[None]
    allowed = torch.ones_like(key <= query) if bidirectional else key <= query
    return (allowed[None] & keys[:, None]) | (key == query)[None]


@dataclass
class Texts:
    """Texts of a batch, and their two halves or None; see ``Continuation``.

    ``stopped`` (B,) is True for texts that the model ended itself, and None if the model wrote no text.
    """

    whole: list[str]
    transcript: list[str] | None
    continuation: list[str] | None
    stopped: Tensor | None = None


@dataclass
class Spoken:
    """Speech of a batch: ``content`` (B, T, ...), of which ``num_frames`` (B,) count, in the speech head's format.

    ``stopped`` (B,) is True for rows that were not cut off. ``reference`` (B,) is the number of samples that a row must
    have, 0 for a row without a reference.
    """

    content: Tensor
    num_frames: Tensor
    stopped: Tensor
    reference: Tensor


class DecodingState:
    """State of the sequence decoded so far: LM cache, valid places (B, L), and the texts and speech that it holds."""

    def __init__(self, language_model: LanguageModel, rows: int, device: torch.device) -> None:
        self.language_model = language_model
        self.cache: object | None = None
        self.keys = torch.zeros(rows, 0, dtype=torch.bool, device=device)
        self.texts = Texts([""] * rows, None, None)
        self.speech: Spoken | None = None

    def extend(self, embeddings: Tensor, valid: Tensor, bidirectional: bool = False) -> Tensor:
        """Append places (B, L, D), of which ``valid`` (B, L) count, and return their hidden states (B, L, D)."""
        past = self.keys.sum(1, keepdim=True)
        self.keys = torch.cat([self.keys, valid], dim=1)
        positions = (past + valid.long().cumsum(1) - 1).clamp(min=0)
        attention_mask = visibility(self.keys, embeddings.shape[1], bidirectional)
        hidden, self.cache = self.language_model(embeddings, attention_mask, positions, self.cache)
        return hidden


def text_sequence(language_model: LanguageModel, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs ``sos, text``, targets ``text, eos`` (padded with eos) and their validity, each (B, N + 1)."""
    ids, num_tokens = language_model.tokenize(texts)
    inputs = functional.pad(ids, (1, 0), value=language_model.sos_id)
    targets = functional.pad(ids, (0, 1), value=language_model.eos_id)
    targets = targets.masked_fill(padding_mask(num_tokens, targets.shape[1]), language_model.eos_id)
    valid = ~padding_mask(num_tokens + 1, inputs.shape[1])
    device = next(language_model.parameters()).device
    return inputs.to(device), targets.to(device), valid.to(device)


def decode_text(
    state: DecodingState, decoding: Decoding, ids: list[str], first: Tensor | None = None
) -> tuple[list[list[int]], Tensor]:
    """Write text after the prefix until each row's end token or ``decoding.max_text_tokens``.

    ``first`` (B,) is the first input token of each row, by default the one that starts a text.

    Returns:
        The rows' token ids without the end token, and which rows (B,) wrote one and were not cut off.
    """
    lm = state.language_model
    random = RowRandom(decoding.seed, [f"text:{row}" for row in ids])
    rows = len(ids)
    token = torch.full((rows,), lm.sos_id, device=state.keys.device) if first is None else first
    alive = torch.ones(rows, dtype=torch.bool, device=state.keys.device)
    written: list[Tensor] = []
    for _ in range(decoding.max_text_tokens):
        hidden = state.extend(lm.embed(token[:, None]), alive[:, None])
        token = choose_token(lm.logits(hidden[:, 0]).float(), decoding, random)
        alive = alive & (token != lm.eos_id)
        written.append(torch.where(alive, token, lm.eos_id))
        if not alive.any():  # the one wait for the device in a step: most texts are far shorter than the limit
            break
    else:
        # The last token has been written but not read yet: the speech must attend to it.
        state.extend(lm.embed(token[:, None]), alive[:, None])
    table = torch.stack(written, dim=1).tolist()
    return [row[: row.index(lm.eos_id)] if lm.eos_id in row else row for row in table], ~alive


def choose_token(logits: Tensor, decoding: Decoding, random: RowRandom) -> Tensor:
    """Choose the next token (B,) from logits (B, V): the most probable, or sampled with each row's Gumbel noise."""
    if decoding.temperature <= 0:
        return logits.argmax(-1)
    if decoding.top_k > 0:
        least = logits.topk(min(decoding.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    noise = -torch.log(-torch.log(random.uniform(logits.shape[-1], like=logits).clamp(1e-10, 1 - 1e-7)))
    return (logits / decoding.temperature + noise).argmax(-1)


def split_texts(texts: list[str], mark: str) -> tuple[list[str] | None, list[str] | None]:
    """Split whole texts into transcripts and continuations; None if no mark separates them."""
    mark = mark.strip()
    if not mark:
        return None, None
    halves = [text.partition(mark) for text in texts]
    return [before.strip() for before, _, _ in halves], [after.strip() for _, _, after in halves]
