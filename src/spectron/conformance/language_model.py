"""The contract of a language model, one function a check."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.conformance.result import FINITE, Check, Trial, require, require_close
from spectron.contracts import LanguageModel
from spectron.generation import DecodingState, visibility

TEXTS = ["the cow says moo", "paris", ""]
PLACES = 6
GAPS = [[True] * PLACES, [True, True, False, False, True, True]]  # the second row has padding amid its sequence


def text(trial: Trial) -> str:
    """Texts survive tokens; the special ones are in the vocabulary."""
    model: LanguageModel = trial.part
    ids, num_tokens = model.tokenize(TEXTS)
    require(
        ids.ndim == 2 and ids.dtype == torch.long,
        f"tokenize gives ids {tuple(ids.shape)} of {ids.dtype}, not (B, N) of torch.long: pad the rows",
    )
    counted = num_tokens.shape == (len(TEXTS),) and num_tokens.dtype == torch.long
    require(
        counted,
        f"tokenize gives counts {tuple(num_tokens.shape)} of {num_tokens.dtype}: count each row's tokens, (B,) of torch.long",
    )
    require(int(num_tokens[2]) == 0, f"an empty text has {int(num_tokens[2])} tokens: leave special tokens out")
    back = model.detokenize([row[:count] for row, count in zip(ids.tolist(), num_tokens.tolist(), strict=True)])
    require(
        back == TEXTS,
        f"{TEXTS} become {back} on the way through tokens: change neither case nor spaces, and leave out special tokens only",
    )
    vocabulary = model.logits(
        torch.zeros(1, model.hidden_size, device=trial.device, dtype=model.embed(ids).dtype)
    ).shape[-1]
    highest = max(int(ids.max()), model.sos_id, model.eos_id)
    require(
        min(model.sos_id, model.eos_id) >= 0,
        f"sos_id {model.sos_id} or eos_id {model.eos_id} is no token: set both to ids within the vocabulary",
    )
    require(
        highest < vocabulary,
        f"token {highest} is outside the {vocabulary} logits: give logits a column for every id that embed takes",
    )
    return f"{num_tokens.tolist()} tokens of {TEXTS}, {vocabulary} logits, sos {model.sos_id}, eos {model.eos_id}"


def shapes(trial: Trial) -> str:
    """Embeddings and hidden states are as wide as the model says, and finite."""
    model: LanguageModel = trial.part
    require(
        isinstance(getattr(model, "hidden_size", None), int),
        "it sets no `hidden_size`: set self.hidden_size to the width of its embeddings",
    )
    ids, _ = model.tokenize(TEXTS)
    embeddings = model.embed(ids)
    cure = "set self.hidden_size to the width of embeddings and hidden states alike"
    fits = embeddings.shape == (*ids.shape, model.hidden_size)
    require(
        fits,
        f"hidden_size is {model.hidden_size}, and embed gives {tuple(embeddings.shape)} for ids {tuple(ids.shape)}: {cure}",
    )
    hidden, _ = _read(model, _embeddings(trial))
    fits = hidden.shape == (2, PLACES, model.hidden_size)
    require(
        fits,
        f"hidden_size is {model.hidden_size}, and forward gives {tuple(hidden.shape)} for 2 x {PLACES} places: {cure}",
    )
    cure = "a row whose places see nothing is padding: mask with a large negative number, not with -inf"
    require(bool(torch.isfinite(hidden).all()), f"hidden states are NaN or infinite: {cure}; {FINITE}")
    limit = getattr(model, "max_positions", None)
    return f"2 x {PLACES} places -> {' x '.join(map(str, hidden.shape))}, {'no limit' if limit is None else f'at most {limit}'} of positions"


def padding(trial: Trial) -> str:
    """Places that are not visible change nothing that is valid."""
    embeddings = _embeddings(trial)
    valid = _valid(trial)
    hidden, _ = _read(trial.part, embeddings)
    other, _ = _read(trial.part, torch.where(valid[..., None], embeddings, 3 * embeddings.flip(1)))
    seen = "what stands at places that are not visible changes valid hidden states: obey `attention_mask`"
    return f"valid hidden states change by {require_close(other[valid], hidden[valid], seen):.1e}"


def batch_against_single(trial: Trial) -> str:
    """A row with gaps is what it is alone and without them."""
    embeddings = _embeddings(trial)
    valid = _valid(trial)[1]
    hidden, _ = _read(trial.part, embeddings)
    count = int(valid.sum())
    whole = torch.ones(1, count, dtype=torch.bool, device=trial.device)
    alone, _ = trial.part(
        embeddings[1:, valid], visibility(whole, count), torch.arange(count, device=trial.device)[None]
    )
    seen = "a row with gaps gives other hidden states in a batch than alone: obey `attention_mask` and `positions`"
    return f"rows differ by {require_close(hidden[1, valid], alone[0], seen):.1e}"


def bidirectional(trial: Trial) -> str:
    """Where a later place is visible it is looked at, and where it is not it is not."""
    embeddings = _embeddings(trial)[:1]
    changed = torch.cat([embeddings[:, :-1], -embeddings[:, -1:]], dim=1)
    keys = torch.ones(1, PLACES, dtype=torch.bool, device=trial.device)
    positions = torch.arange(PLACES, device=trial.device)[None]

    def first(values: Tensor, both: bool) -> Tensor:
        return trial.part(values, visibility(keys, PLACES, both), positions)[0][:, :-1]

    causal = require_close(
        first(changed, False),
        first(embeddings, False),
        "a place looks at a later one that is not visible: obey `attention_mask`",
    )
    looked = float((first(changed, True) - first(embeddings, True)).abs().max())
    require(
        looked > 1e-6,
        "a later place that is visible is not looked at: obey `attention_mask`, or set model.prefix_attention=causal",
    )
    return f"a later place changes earlier ones by {looked:.1e} where visible, {causal:.1e} where not"


def cache(trial: Trial) -> str:
    """Place by place with the cache gives what the whole sequence gives at once."""
    model: LanguageModel = trial.part
    embeddings, valid = _embeddings(trial), _valid(trial)
    hidden, _ = _read(model, embeddings)
    state = DecodingState(model, len(embeddings), trial.device)
    stepwise = torch.cat([state.extend(embeddings[:, i : i + 1], valid[:, i : i + 1]) for i in range(PLACES)], dim=1)
    seen = "place by place with the cache gives other hidden states than all at once: keep all the past in the cache, as it was read"
    return f"place by place and all at once differ by {require_close(stepwise[valid], hidden[valid], seen):.1e}"


def output(model: LanguageModel, device: torch.device) -> Tensor:
    """Logits of the same texts, the valid ones (N, V)."""
    inputs, _, valid = model.text_sequence(TEXTS)
    positions = torch.arange(inputs.shape[1], device=device).expand_as(inputs)
    hidden, _ = model(model.embed(inputs), visibility(valid, inputs.shape[1]), positions)
    return model.logits(hidden)[valid]


def work(model: LanguageModel, device: torch.device, places: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Four sequences, what speed is measured on."""
    limit = min(places, getattr(model, "max_positions", None) or places)
    keys = torch.ones(4, limit, dtype=torch.bool, device=device)
    ids = torch.full((4, limit), model.eos_id, device=device)
    return model.embed(ids), visibility(keys, limit), torch.arange(limit, device=device).expand(4, limit)


def _embeddings(trial: Trial) -> Tensor:
    """Random inputs (2, L, D) of the type, and about the size, of the model's own embeddings."""
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
