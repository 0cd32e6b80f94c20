"""Decoding: a prefix, then text token by token, then speech step by step, in one cached pass over a batch.

Rows of different lengths share a batch. Padding is never visible and takes no position, so that each row gives what it
gives alone. The KV cache therefore has gaps, and ``DecodingState`` records where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spectron.batch import Prompts
from spectron.contracts import Decoding, LanguageModel, SpeechHead
from spectron.errors import ConfigError
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


class DecodingState:
    """State of the sequence decoded so far: LM cache and valid places (B, L)."""

    def __init__(self, language_model: LanguageModel, rows: int, device: torch.device) -> None:
        self.language_model = language_model
        self.cache: object | None = None
        self.keys = torch.zeros(rows, 0, dtype=torch.bool, device=device)

    def extend(self, embeddings: Tensor, valid: Tensor, bidirectional: bool = False) -> Tensor:
        """Append places (B, L, D), of which ``valid`` (B, L) count, and return their hidden states (B, L, D)."""
        past = self.keys.sum(1, keepdim=True)
        self.keys = torch.cat([self.keys, valid], dim=1)
        positions = (past + valid.long().cumsum(1) - 1).clamp(min=0)
        attention_mask = visibility(self.keys, embeddings.shape[1], bidirectional)
        hidden, self.cache = self.language_model(embeddings, attention_mask, positions, self.cache)
        return hidden


def decode_text(
    state: DecodingState, decoding: Decoding, ids: list[str], first: Tensor | None = None
) -> list[list[int]]:
    """Write text after the prefix until each row's end token, and return the rows' token ids without it.

    ``first`` (B,) is the first input token of each row, by default the one that starts a text.
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
    return [row[: row.index(lm.eos_id)] if lm.eos_id in row else row for row in table]


def choose_token(logits: Tensor, decoding: Decoding, random: RowRandom) -> Tensor:
    """Choose the next token (B,) from logits (B, V): the most probable, or sampled with each row's Gumbel noise."""
    if decoding.temperature <= 0:
        return logits.argmax(-1)
    if decoding.top_k > 0:
        least = logits.topk(min(decoding.top_k, logits.shape[-1]), dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    noise = -torch.log(-torch.log(random.uniform(logits.shape[-1], like=logits).clamp(1e-10, 1 - 1e-7)))
    return (logits / decoding.temperature + noise).argmax(-1)


def reference_samples(prompts: Prompts, decoding: Decoding) -> Tensor:
    """Return the number of samples that each row has to speak, (B,); 0 for a free row.

    Raises:
        ConfigError: if ``decoding.length`` asks for a reference that the prompts lack.
    """
    if decoding.length == "free":
        return torch.zeros_like(prompts.num_samples)
    if prompts.speech_num_samples is None:
        raise ConfigError(
            "reference needs the lengths of true continuations, and these prompts have none. Give "
            "Prompts.speech_num_samples, or set length to free",
            key="decoding.length",
            allowed=["free"],
        )
    return prompts.speech_num_samples


def held_to(reference: Tensor, lengths: Tensor) -> Tensor:
    """Cut lengths (B,) to those of the reference, if a row has one: a last step or frame may reach beyond it."""
    return torch.where(reference > 0, torch.minimum(lengths, reference), lengths)


def decode_speech(
    state: DecodingState, head: SpeechHead, decoding: Decoding, ids: list[str], reference_frames: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode speech after the text.

    A row with ``reference_frames`` (B,) above 0 speaks as many steps as contain them. The other rows speak until their
    stop probability or the longest duration.

    Returns:
        Steps (B, K, F), valid steps (B,), and which rows (B,) were not cut off: those with a reference never are.
    """
    lm, rows, device = state.language_model, len(ids), state.keys.device
    random = RowRandom(decoding.seed, [f"speech:{row}" for row in ids])
    steps_a_second = head.mel.frame_rate_hz / head.frames_per_step
    held = reference_frames > 0
    longest = torch.where(
        held, -(-reference_frames // head.frames_per_step), max(round(decoding.max_seconds * steps_a_second), 1)
    )
    shortest = round(decoding.min_seconds * steps_a_second)
    alive = torch.ones(rows, dtype=torch.bool, device=device)
    stopped = held.clone()
    num_steps = torch.zeros(rows, dtype=torch.long, device=device)
    # The end-of-text token starts the speech: its hidden state predicts the first step.
    inputs = lm.embed(torch.full((rows, 1), lm.eos_id, device=device))
    spoken: list[Tensor] = []
    while True:
        hidden = state.extend(inputs, alive[:, None])
        values, stop = head.step(hidden[:, 0], random)
        spoken.append(values)
        num_steps += alive
        if len(spoken) >= shortest:
            stopped = stopped | (alive & ~(stop < decoding.stop_threshold))
        alive = alive & (held | ~stopped) & (num_steps < longest)
        if not alive.any():  # the one wait for the device in a step: only the rows know when to stop
            return torch.stack(spoken, dim=1), num_steps, stopped
        inputs = head.embed(values[:, None], random)


Chain = Literal["written", "given", "none", "filler"]


@dataclass
class Texts:
    """Texts of a batch, and their two halves or None; see ``Continuation``."""

    whole: list[str]
    transcript: list[str] | None
    continuation: list[str] | None


def write_text(state: DecodingState, prompts: Prompts, decoding: Decoding, chain: Chain, separator: str) -> Texts:
    """Append the ``chain`` to the prompts, up to the token that starts the speech.

    ``separator`` is the text between transcript and continuation.

    Raises:
        ConfigError: if true texts are requested and the prompts have none.
    """
    lm, rows = state.language_model, len(prompts.ids)
    if chain == "written":
        texts = lm.detokenize(decode_text(state, decoding, prompts.ids))
        return Texts(texts, *split_texts(texts, separator))
    if chain == "given":
        pairs = true_texts(prompts)
        texts = [separator.join(pair) for pair in pairs]
        inputs, _, valid = lm.text_sequence(texts)
        state.extend(lm.embed(inputs), valid)
        return Texts(texts, [before for before, _ in pairs], [after for _, after in pairs])
    inputs = filler_tokens(lm, rows, decoding.filler_tokens if chain == "filler" else 0, state.keys.device)
    state.extend(lm.embed(inputs), torch.ones_like(inputs, dtype=torch.bool))
    return Texts([""] * rows, None, None)


def filler_tokens(language_model: LanguageModel, rows: int, count: int, device: torch.device) -> Tensor:
    """Return the token that starts a text and ``count`` tokens without content: (B, 1 + count)."""
    return torch.full((rows, 1 + count), language_model.sos_id, device=device)


def true_texts(prompts: Prompts) -> list[tuple[str, str]]:
    """Return transcript and continuation of every row.

    Raises:
        ConfigError: naming the rows that have neither.
    """
    pairs = prompts.texts or [("", "")] * len(prompts.ids)
    missing = [name for name, pair in zip(prompts.ids, pairs, strict=True) if not any(pair)]
    if missing:
        raise ConfigError(
            f"given needs true texts, and {', '.join(missing[:5])}{', ...' * (len(missing) > 5)} have none. Give "
            "transcript and continuation, or choose another chain",
            key="decoding.chain",
        )
    return pairs


def split_texts(texts: list[str], mark: str) -> tuple[list[str] | None, list[str] | None]:
    """Split whole texts into transcripts and continuations; None if no mark separates them."""
    mark = mark.strip()
    if not mark:
        return None, None
    halves = [text.partition(mark) for text in texts]
    return [before.strip() for before, _, _ in halves], [after.strip() for _, _, after in halves]
