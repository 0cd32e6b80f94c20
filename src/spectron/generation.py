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
from spectron.contracts import LanguageModel
from spectron.decoding import Decoding, Sampling
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


class Writing:
    """Text of a batch in decoding, token by token, until each row's end token or ``decoding.max_text_tokens``.

    Attributes:
        reading: Rows (B,) with a token that the language model still has to read.
        stopped: Rows (B,) that wrote an end token, and were not cut off.

    ``first`` (B,) is the first input token of each row, by default the one that starts a text.
    """

    def __init__(self, state: DecodingState, decoding: Decoding, ids: list[str], first: Tensor | None = None) -> None:
        self.language_model, self.decoding = state.language_model, decoding
        self.random = RowRandom(decoding.seed, [f"text:{row}" for row in ids])
        rows, device = len(ids), state.keys.device
        self.token = torch.full((rows,), self.language_model.sos_id, device=device) if first is None else first
        self.reading = torch.ones(rows, dtype=torch.bool, device=device)
        self.stopped = torch.zeros_like(self.reading)
        self.written: list[Tensor] = []

    @property
    def inputs(self) -> Tensor:
        """Token that each row reads next, as (B, 1, D)."""
        return self.language_model.embed(self.token[:, None])

    def step(self, hidden: Tensor) -> None:
        """Write the next token of all rows, which hidden states (B, D) predict.

        The last token of a text that is cut off has been read with them, and nothing follows: what comes after the text
        must attend to it.
        """
        if len(self.written) == self.decoding.max_text_tokens:
            self.reading = torch.zeros_like(self.reading)
            return
        token = choose_token(self.language_model.logits(hidden).float(), self.decoding, self.random)
        ended = self.reading & (token == self.language_model.eos_id)
        self.stopped = self.stopped | ended
        self.reading = self.reading & ~ended
        self.token = token
        self.written.append(torch.where(self.reading, token, self.language_model.eos_id))

    def ids(self) -> list[list[int]]:
        """Return the rows' token ids without the end token."""
        eos_id = self.language_model.eos_id
        table = torch.stack(self.written, dim=1).tolist() if self.written else [[] for _ in self.reading]
        return [row[: row.index(eos_id)] if eos_id in row else row for row in table]


def decode_text(
    state: DecodingState, decoding: Decoding, ids: list[str], first: Tensor | None = None
) -> tuple[list[list[int]], Tensor]:
    """Write text after the prefix; ``first`` as in ``Writing``.

    Returns:
        The rows' token ids without the end token, and which rows (B,) wrote one and were not cut off.
    """
    writing = Writing(state, decoding, ids, first)
    while writing.reading.any():  # the one wait for the device in a step: most texts are far shorter than the limit
        writing.step(state.extend(writing.inputs, writing.reading[:, None])[:, 0])
    return writing.ids(), writing.stopped


def choose_token(logits: Tensor, settings: Decoding | Sampling, random: RowRandom | None) -> Tensor:
    """Choose the next token or code (B,) from logits (B, V): the likeliest, or sampled with each row's Gumbel noise.

    Without ``random`` it is the most probable one.
    """
    if random is None or settings.temperature <= 0:
        return logits.argmax(-1)
    if settings.top_k > 0:
        least = logits.topk(min(settings.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    noise = -torch.log(-torch.log(random.uniform(logits.shape[-1], like=logits).clamp(1e-10, 1 - 1e-7)))
    return (logits / settings.temperature + noise).argmax(-1)


def split_texts(texts: list[str], mark: str) -> tuple[list[str] | None, list[str] | None]:
    """Split whole texts into transcripts and continuations; None if no mark separates them."""
    mark = mark.strip()
    if not mark:
        return None, None
    halves = [text.partition(mark) for text in texts]
    return [before.strip() for before, _, _ in halves], [after.strip() for _, _, after in halves]
