"""Checks of the segment contract, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from spectron.batch import LossTerm, SpeechBatch, SpokenLength, Word, row_alone
from spectron.conformance.inputs import garbled, noise
from spectron.conformance.result import FINITE, Check, DoesNotApply, Trial, require, require_close
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.generation import DecodingState
from spectron.segments import Segment, Stretch, read

TEXTS = [("the cow", "says moo"), ("paris", ""), ("is", "a b c")]
SECONDS = (0.5, 0.31, 0.12)
DECODING = Decoding(max_text_tokens=4, max_seconds=0.3, stop_threshold=1.1)
PLACES = 3  # positions before the segment


def shapes(trial: Trial) -> str:
    """Check that a segment gives inputs (B, L, D) with their validity, and losses of the names that it states."""
    segment, batch = trial.part, _batch(trial.part)
    lm = segment.parts.language_model
    stretch = segment(batch)
    require(isinstance(stretch, Stretch), f"forward returns a {type(stretch).__name__}: return a Stretch")
    embeddings, valid = stretch.embeddings, stretch.valid
    require(
        embeddings.ndim == 3 and (len(embeddings), embeddings.shape[2]) == (len(batch.ids), lm.hidden_size),
        f"forward returns embeddings {tuple(embeddings.shape)} for {len(batch.ids)} rows: return (B, L, D) with D = "
        f"parts.language_model.hidden_size ({lm.hidden_size})",
    )
    require(
        valid.shape == embeddings.shape[:2] and valid.dtype == torch.bool,
        f"valid is {tuple(valid.shape)} of {valid.dtype}, embeddings are {tuple(embeddings.shape)}: return (B, L) of "
        "torch.bool",
    )
    require(bool(torch.isfinite(embeddings[valid]).all()), f"valid embeddings are NaN or infinite: {FINITE}")
    losses = segment.losses(stretch, _hidden(segment, stretch), segment.optional_losses)
    terms = all(isinstance(term, LossTerm) for term in losses.values())
    require(terms, "losses returns values that are no LossTerm: return a sum and a count by name")
    named = set(losses) == segment.loss_names()
    require(
        named,
        f"losses computes {_listed(losses)}, but loss_names returns {_listed(segment.loss_names())}: return the same "
        "names",
    )
    unknown = {*segment.trained_losses, *segment.optional_losses} - set(losses)
    require(not unknown, f"trained_losses or optional_losses names {_listed(unknown)}, which losses does not compute")
    return f"{' x '.join(map(str, embeddings.shape))} inputs, losses: {_listed(losses)}"


def positions(trial: Trial) -> str:
    """Check that the stated number of positions is enough in training and in decoding."""
    segment, batch = trial.part, _batch(trial.part)
    taken = [
        ("forward", segment(batch).valid.sum(1).tolist(), None),
        ("decode", _decoded(segment, batch).keys[:, PLACES:].sum(1).tolist(), DECODING),
    ]
    cure = "return an upper bound for seconds and texts of this length"
    for name, counts, decoding in taken:
        for row, count in enumerate(counts):
            stated = segment.positions(_length(segment, batch, row), decoding)
            bound = stated.count + int(segment.parts.language_model.tokenize([stated.text])[1][0])
            seen = f"{name} takes {count} positions, but positions returns {bound} for row {row}: {cure}"
            require(count <= bound, seen)
    return f"positions in training {taken[0][1]}, in decoding {taken[1][1]}"


def padding(trial: Trial) -> str:
    """Check that noise in the padding of the recordings changes neither inputs nor losses."""
    segment, batch = trial.part, _batch(trial.part)
    noisy = replace(
        batch,
        prompt=garbled(batch.prompt, batch.prompt_num_samples),
        continuation=garbled(batch.continuation, batch.continuation_num_samples),
    )
    whole, other = segment(batch), segment(noisy)
    seen = "noise in the padding of a recording changes {}: mask everything beyond num_samples"
    counts = seen.format(f"{whole.valid.sum(1).tolist()} positions to {other.valid.sum(1).tolist()}")
    require(bool((whole.valid.sum(1) == other.valid.sum(1)).all()), counts)
    changed = require_close(other.embeddings[other.valid], whole.embeddings[whole.valid], seen.format("valid inputs"))
    hidden = _hidden(segment, whole)
    rubbish = torch.where(whole.valid[..., None], hidden, 3 * hidden.flip(2))
    difference = _compared(
        segment.losses(whole, rubbish, segment.optional_losses),
        segment.losses(whole, hidden, segment.optional_losses),
        "the hidden states at positions that are not valid change the loss {}: leave them out of every sum",
    )
    return f"inputs change by {changed:.1e}, losses by {difference:.1e}"


def batch_against_single(trial: Trial) -> str:
    """Check that a row has its inputs in every batch, and that losses of rows, and of places, add up to the batch's."""
    segment, batch = trial.part, _batch(trial.part)
    whole = segment(batch)
    hidden = _hidden(segment, whole)
    losses, scores = segment.losses(whole, hidden, segment.optional_losses), segment.scores(whole, hidden)
    summed: dict[str, LossTerm] = {}
    largest = 0.0
    for row in range(len(batch.ids)):
        alone = segment(row_alone(batch, row))
        seen = f"row {row} has other inputs in a batch than alone: normalise within the row, and mask the padding"
        count = int(alone.valid.sum())
        inputs = whole.embeddings[row, whole.valid[row]]
        largest = max(largest, require_close(inputs, alone.embeddings[0, alone.valid[0]], seen))
        states = _hidden(segment, alone)
        states[0, alone.valid[0]] = hidden[row, whole.valid[row]][:count]
        for name, term in segment.losses(alone, states, segment.optional_losses).items():
            summed[name] = summed[name] + term if name in summed else term
        for name, score in segment.scores(alone, states).items():
            seen = f"row {row} has another {name} in a batch than alone: score each row on its own"
            require_close(scores[name][row : row + 1].float(), score.float(), seen)
    seen = "the rows' losses {} do not add up to the batch's: return sums and counts, no means"
    difference = _compared(summed, losses, seen)
    _require_places(segment, whole, hidden, losses)
    return f"inputs differ by {largest:.1e}, losses by {difference:.1e}"


def decoding(trial: Trial) -> str:
    """Check that a row takes the same positions, and gives the same output, in a batch as alone."""
    segment, batch = trial.part, _batch(trial.part)
    whole = _decoded(segment, batch)
    largest = 0.0
    for row, name in enumerate(batch.ids):
        alone = _decoded(segment, row_alone(batch, row), row)
        both = f"in a batch and {int(alone.keys.sum())} alone"
        seen = f"row {row} takes {int(whole.keys[row].sum())} positions {both}: append no padding as valid"
        require(int(whole.keys[row].sum()) == int(alone.keys.sum()), seen)
        texts = whole.texts.whole[row], alone.texts.whole[0]
        require(texts[0] == texts[1], f"{name} writes {texts[0]!r} in a batch and {texts[1]!r} alone")
        if whole.speech is not None and alone.speech is not None:
            frames = int(alone.speech.num_frames[0])
            seen = f"row {row} speaks other frames in a batch than alone: draw random numbers with RowRandom"
            given = whole.speech.content[row, :frames].float()
            largest = max(largest, require_close(given, alone.speech.content[0, :frames].float(), seen))
    return "no speech" if whole.speech is None else f"speech differs by {largest:.1e}"


def output(segment: Segment, device: torch.device) -> Tensor:
    """Return valid inputs and losses of fixed speech and texts, concatenated."""
    stretch = segment(_batch(segment))
    losses = segment.losses(stretch, _hidden(segment, stretch), segment.optional_losses)
    means = [losses[name].mean[None] for name in sorted(losses)]
    return torch.cat([stretch.embeddings[stretch.valid].flatten(), *means])


def work(segment: Segment, device: torch.device, seconds: float) -> tuple[SpeechBatch]:
    """Return four utterances of equal length, for measuring speed."""
    return (_batch(segment, [seconds] * 4, TEXTS[:1] * 4),)


def _require_places(segment: Segment, stretch: Stretch, hidden: Tensor, losses: dict[str, LossTerm]) -> None:
    """Check that the places are those of the stretch, and that their losses add up to the segment's."""
    found, (count, length) = segment.places(stretch, hidden, segment.optional_losses), stretch.valid.shape
    lengths = [len(row) for row in found.rows]
    require(
        lengths in ([], [length] * count),
        f"places describes {lengths} positions of the rows: return {count} lists of {length}, padding included",
    )
    for name, values in found.losses.items():
        require(
            name in losses and values.shape == (count, length),
            f"places returns a loss {name} {tuple(values.shape)}: return ({count}, {length}), and only names of losses",
        )
        seen = f"the loss {name} of all places is not its total: leave out a loss that is no sum over positions"
        require_close(values.sum().float(), losses[name].total.float(), seen)


def _batch(
    segment: Segment, seconds: list[float] | tuple[float, ...] = SECONDS, texts: list[tuple[str, str]] = TEXTS
) -> SpeechBatch:
    """Return utterances of several lengths with prompts and continuations of noise, and texts."""
    parts, device = segment.parts, _device(segment)
    rates = parts.prompt_rate_hz, parts.head.format.sample_rate_hz
    prompt, continuation = (noise([round(one * rate) for one in seconds], device) for rate in rates)
    before, after = ([pair[half] for pair in texts] for half in (0, 1))
    words = [[Word(text.split()[0], 0.05, 0.25)] if text else [] for text in after]
    ids = [f"row {row}" for row in range(len(texts))]
    return SpeechBatch(ids, *prompt, before, *continuation, after, continuation_words=words)


def _length(segment: Segment, batch: SpeechBatch, row: int) -> SpokenLength:
    texts = batch.prompt_text[row], batch.continuation_text[row]
    return SpokenLength(batch.ids[row], SECONDS[row], SECONDS[row], texts)


def _decoded(segment: Segment, batch: SpeechBatch, first: int = 0) -> DecodingState:
    """Decode the segment after a few made-up positions; ``first`` is the number of the first row."""
    lm, device = segment.parts.language_model, _device(segment)
    before = torch.randn(len(TEXTS), PLACES, lm.hidden_size, generator=torch.Generator().manual_seed(6)).to(device)
    state = DecodingState(lm, len(batch.ids), device)
    rows = before[first : first + len(batch.ids)].to(lm.embed(torch.full((1, 1), lm.eos_id, device=device)).dtype)
    state.extend(rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=device))
    try:
        segment.decode(state, batch.prompts, DECODING)
    except ConfigError as error:
        if error.key != "stage":
            raise
        raise DoesNotApply(error.message) from error
    return state


def _hidden(segment: Segment, stretch: Stretch) -> Tensor:
    """Return hidden states (B, L, D) of the segment's inputs alone, which ones do not matter here."""
    if not stretch.valid.shape[1]:
        return stretch.embeddings.detach()
    return read(segment.parts.language_model, [stretch])[0].detach().clone()


def _compared(found: dict[str, LossTerm], wanted: dict[str, LossTerm], seen: str) -> float:
    """Return the largest difference of two sets of losses."""
    values: Callable[[LossTerm], Tensor] = lambda term: torch.stack([term.total.float(), term.count.float()])  # noqa: E731 - typed
    return max((require_close(values(found[n]), values(wanted[n]), seen.format(n)) for n in wanted), default=0.0)


def _device(segment: Segment) -> torch.device:
    return next(segment.parts.language_model.parameters()).device


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]


CHECKS: tuple[Check, ...] = (shapes, positions, padding, batch_against_single, decoding)
