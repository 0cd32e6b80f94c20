"""Checks of the language model contract, one function each."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.conformance.result import FINITE, Check, Trial, require, require_close
from spectron.contracts import LanguageModel
from spectron.errors import DataError
from spectron.generation import DecodingState, text_sequence, visibility

TEXTS = ["the cow says moo", "paris", ""]
SPECIAL = ["</s>", "<s>", "<eos>", "<bos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "[SEP]"]
PLACES = 6
GAPS = [[True] * PLACES, [True, True, False, False, True, True]]  # the second row has padding within its sequence


def text(trial: Trial) -> str:
    """Check that texts survive tokenizing, and that special tokens are in the vocabulary."""
    model: LanguageModel = trial.part
    ids, num_tokens = model.tokenize(TEXTS)
    require(
        ids.ndim == 2 and ids.dtype == torch.long,
        f"tokenize returns ids {tuple(ids.shape)} of {ids.dtype}, not (B, N) of torch.long: pad the rows",
    )
    require(
        num_tokens.shape == (len(TEXTS),) and num_tokens.dtype == torch.long,
        f"tokenize returns counts {tuple(num_tokens.shape)} of {num_tokens.dtype}: count each row's tokens, (B,) of "
        "torch.long",
    )
    require(int(num_tokens[2]) == 0, f"an empty text has {int(num_tokens[2])} tokens: leave special tokens out")
    back = model.detokenize([row[:count] for row, count in zip(ids.tolist(), num_tokens.tolist(), strict=True)])
    require(
        back == TEXTS,
        f"{TEXTS} become {back} after tokenize and detokenize: keep case and spaces, and remove only special tokens",
    )
    require_text_only(model)
    hidden = torch.zeros(1, model.hidden_size, dtype=model.embed(ids.to(trial.device)).dtype, device=trial.device)
    vocabulary = model.logits(hidden).shape[-1]
    require(
        min(model.sos_id, model.eos_id) >= 0,
        f"sos_id {model.sos_id} or eos_id {model.eos_id} is no token: set both to ids within the vocabulary",
    )
    highest = max(int(ids.max()), model.sos_id, model.eos_id)
    require(
        highest < vocabulary,
        f"token {highest} is outside the {vocabulary} logits: return a logit for every id that embed accepts",
    )
    return f"{num_tokens.tolist()} tokens of {TEXTS}, {vocabulary} logits, sos {model.sos_id}, eos {model.eos_id}"


def require_text_only(model: LanguageModel) -> None:
    """Require that no text becomes a token that starts or ends a text."""
    for written in SPECIAL:
        try:
            ids, _ = model.tokenize([written])
        except DataError:  # a tokenizer that cannot write it as text may refuse it
            continue
        require(
            not {model.sos_id, model.eos_id} & set(ids[0].tolist()),
            f"the text {written!r} becomes the token that starts or ends a text: tokenize it as letters",
        )


def shapes(trial: Trial) -> str:
    """Check that embeddings and hidden states are finite and as wide as the model states."""
    model: LanguageModel = trial.part
    require(
        isinstance(getattr(model, "hidden_size", None), int),
        "it sets no `hidden_size`: set self.hidden_size to the width of its embeddings",
    )
    ids, _ = model.tokenize(TEXTS)
    embeddings = model.embed(ids.to(trial.device))
    stated = f"hidden_size is {model.hidden_size}, but"
    cure = "set self.hidden_size to the width of both embeddings and hidden states"
    fits = embeddings.shape == (*ids.shape, model.hidden_size)
    require(fits, f"{stated} embed returns {tuple(embeddings.shape)} for ids {tuple(ids.shape)}: {cure}")
    hidden, _ = _read(model, _embeddings(trial))
    fits = hidden.shape == (2, PLACES, model.hidden_size)
    require(fits, f"{stated} forward returns {tuple(hidden.shape)} for 2 x {PLACES} positions: {cure}")
    cure = "mask with a large negative number, not with -inf, because a padded position sees no other"
    require(bool(torch.isfinite(hidden).all()), f"hidden states are NaN or infinite: {cure}; {FINITE}")
    limit = getattr(model, "max_positions", None)
    size = f"2 x {PLACES} positions -> {' x '.join(map(str, hidden.shape))}"
    return f"{size}, {'no limit' if limit is None else f'at most {limit}'} of positions"


def padding(trial: Trial) -> str:
    """Check that positions which are not visible do not change a valid hidden state."""
    embeddings = _embeddings(trial)
    valid = _valid(trial)
    hidden, _ = _read(trial.part, embeddings)
    other, _ = _read(trial.part, torch.where(valid[..., None], embeddings, 3 * embeddings.flip(1)))
    seen = "inputs at positions that are not visible change valid hidden states: obey `attention_mask`"
    return f"valid hidden states change by {require_close(other[valid], hidden[valid], seen):.1e}"


def batch_against_single(trial: Trial) -> str:
    """Check that a row with gaps gives what it gives alone and without the gaps."""
    embeddings = _embeddings(trial)
    valid = _valid(trial)[1]
    hidden, _ = _read(trial.part, embeddings)
    count = int(valid.sum())
    whole = torch.ones(1, count, dtype=torch.bool, device=trial.device)
    positions = torch.arange(count, device=trial.device)[None]
    alone, _ = trial.part(embeddings[1:, valid], visibility(whole, count), positions)
    seen = "a row with gaps has other hidden states in a batch than alone: obey `attention_mask` and `positions`"
    return f"rows differ by {require_close(hidden[1, valid], alone[0], seen):.1e}"


def bidirectional(trial: Trial) -> str:
    """Check that a position attends to a later one if that one is visible, and only then."""
    embeddings = _embeddings(trial)[:1]
    changed = torch.cat([embeddings[:, :-1], -embeddings[:, -1:]], dim=1)
    keys = torch.ones(1, PLACES, dtype=torch.bool, device=trial.device)
    positions = torch.arange(PLACES, device=trial.device)[None]

    def first(values: Tensor, both: bool) -> Tensor:
        return trial.part(values, visibility(keys, PLACES, both), positions)[0][:, :-1]

    seen = "a position attends to a later one that is not visible: obey `attention_mask`"
    causal = require_close(first(changed, False), first(embeddings, False), seen)
    attended = float((first(changed, True) - first(embeddings, True)).abs().max())
    require(
        attended > 1e-6,
        "no position attends to a later one that is visible: obey `attention_mask`, or set "
        "model.sequence.prompt_attention=causal",
    )
    return f"a later position changes earlier ones by {attended:.1e} if visible, {causal:.1e} if not"


def cache(trial: Trial) -> str:
    """Check that reading position by position with the cache gives what reading the whole sequence gives."""
    model: LanguageModel = trial.part
    embeddings, valid = _embeddings(trial), _valid(trial)
    hidden, _ = _read(model, embeddings)
    state = DecodingState(model, len(embeddings), trial.device)
    stepwise = torch.cat([state.extend(embeddings[:, i : i + 1], valid[:, i : i + 1]) for i in range(PLACES)], dim=1)
    seen = (
        "reading position by position with the cache gives other hidden states than reading all at once: keep the "
        "whole past in the cache, unchanged"
    )
    return f"position by position and all at once differ by {require_close(stepwise[valid], hidden[valid], seen):.1e}"


def output(model: LanguageModel, device: torch.device) -> Tensor:
    """Return the valid logits (N, V) of three fixed texts."""
    inputs, _, valid = text_sequence(model, TEXTS)
    positions = torch.arange(inputs.shape[1], device=device).expand_as(inputs)
    hidden, _ = model(model.embed(inputs), visibility(valid, inputs.shape[1]), positions)
    return model.logits(hidden)[valid]


def work(model: LanguageModel, device: torch.device, places: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inputs of four sequences, for measuring speed."""
    limit = min(places, getattr(model, "max_positions", None) or places)
    keys = torch.ones(4, limit, dtype=torch.bool, device=device)
    ids = torch.full((4, limit), model.eos_id, device=device)
    return model.embed(ids), visibility(keys, limit), torch.arange(limit, device=device).expand(4, limit)


def _embeddings(trial: Trial) -> Tensor:
    """Return random inputs (2, L, D) of the type, and about the size, of the model's embeddings."""
    own = trial.part.embed(torch.full((1, 1), trial.part.eos_id, device=trial.device)).detach()
    noise = torch.randn(2, PLACES, trial.part.hidden_size, generator=torch.Generator().manual_seed(4))
    return noise.to(own)


def _valid(trial: Trial) -> Tensor:
    return torch.tensor(GAPS, device=trial.device)


def _read(model: LanguageModel, embeddings: Tensor) -> tuple[Tensor, object]:
    valid = torch.tensor(GAPS, device=embeddings.device)
    hidden, past = model(embeddings, visibility(valid, PLACES), (valid.long().cumsum(1) - 1).clamp(min=0))
    return hidden, past


CHECKS: tuple[Check, ...] = (text, shapes, padding, batch_against_single, bidirectional, cache)
