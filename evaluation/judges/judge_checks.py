"""Checks of the contracts of judges, one function per check, on made-up speech, texts or samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spectron.conformance import Check, DoesNotApply, Trial, register, require, require_close
from spectron.devices import device_called
from spectron.evaluation.judges.judge import (
    Judge,
    QualityPredictor,
    SpeakerEmbedder,
    SpeechJudge,
    TextScorer,
    Transcriber,
)
from spectron.evaluation.made_up_samples import KINDS, incomplete_samples, usable_samples
from spectron.evaluation.sample import SpokenSample, Voices

RATE_HZ = 16000
OTHER_RATE_HZ = 22050
TEXTS = ["the cow says moo", "paris is the capital of france and of the whole of fashion", "moo"]
ODD_TEXTS = ["", " ", "?!", "the cow says moo " * 300]  # the last one is longer than the context of most models
STATE_CURE = "only load may change its state; seed or switch off random draws"


@dataclass
class Kind:
    """The input of a judge of one contract, and the requirements on its answers.

    Args:
        ask: Returns the judge's answers to items, one each; recordings have the given sample rate.
        wrong: Returns what is wrong with an answer to an item, and the cure; None if nothing is.
        ordinary: Returns items that any judge of the kind can answer.
        odd: Returns items of an untrained model.
    """

    ask: Callable[[Any, list[Any], int], Any]
    wrong: Callable[[Any, Any], str | None]
    ordinary: Callable[[], list[Any]]
    odd: Callable[[], list[Any]]


def form(trial: Trial) -> str:
    """Check title and evidence, load it, and check the form of its answers, also at another sample rate."""
    judge: Judge = trial.part
    require(
        isinstance(judge.title, str) and bool(judge.title),
        f"its title is {judge.title!r}: return class and weights as a text",
    )
    given = getattr(judge, "gives", None)
    require(
        isinstance(given, frozenset) and bool(given) and all(isinstance(kind, str) for kind in given),
        f"its evidence `gives` is {given!r}: set gives = frozenset({{'kind'}}) in the class",
    )
    kind = _kind(judge)
    _answers(trial, kind.ordinary()[:1], OTHER_RATE_HZ)
    _ordinary(trial)
    parameters = sum(parameter.numel() for parameter in judge.parameters())
    return f"{judge.title}: {parameters:,} parameters, {len(kind.ordinary())} items answered"


def batch_against_single(trial: Trial) -> str:
    """Check that each item has the same answer in a batch and alone."""
    items, together = _ordinary(trial)
    alone = [_answers(trial, [item])[0] for item in items]
    seen = "has another answer alone than in a batch: mask the padding, or go through the items one by one"
    return f"answers differ by {_largest_difference(alone, together, seen):.1e}: {_told(together)}"


def odd_items(trial: Trial) -> str:
    """Check that empty, silent and very short items are answered and do not affect other items."""
    items, answers = _ordinary(trial)
    found = _answers(trial, [*items, *_kind(trial.part).odd()])
    seen = "has another answer beside empty and odd ones: keep the rows of a batch apart"
    _largest_difference(found[: len(items)], answers, seen)
    return f"answered: {_told(found[len(items) :])}"


def repeatability(trial: Trial) -> str:
    """Check that a second call gives the same answers, also in another order and after other random draws."""
    items, first = _ordinary(trial)
    torch.manual_seed(2)
    again = _answers(trial, items[::-1])[::-1]
    seen = f"has another answer when asked again: {STATE_CURE}"
    return f"answers differ by {_largest_difference(again, first, seen):.1e}"


def speech() -> list[Tensor]:
    """Return three recordings (S,) similar to a voice: modulated harmonics in noise."""
    draw = torch.Generator().manual_seed(7)
    rows = []
    for seconds, pitch_hz in ((1.6, 110.0), (1.1, 190.0), (0.7, 140.0)):
        time = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
        tone = sum(torch.sin(2 * torch.pi * pitch_hz * harmonic * time) / harmonic for harmonic in range(1, 20))
        rows.append(
            0.1 * tone * (1 + torch.sin(2 * torch.pi * 4 * time)) + 0.003 * torch.randn(len(time), generator=draw)
        )
    return rows


def odd_speech() -> list[Tensor]:
    """Return a second of digital silence, no sample, one sample, and 5 ms."""
    return [torch.zeros(RATE_HZ), torch.zeros(0), torch.full((1,), 0.1), speech()[0][: RATE_HZ // 200]]


def _wrong_rating(item: Tensor, answer: Any) -> str | None:
    if answer is None:
        return (
            None
            if not item.any() or len(item) < RATE_HZ // 10
            else "gives no score to a recording: return a mean opinion score, 1 to 5"
        )
    if not item.any():
        return f"gives {answer!r} where there is nothing to hear: return None"
    return (
        None
        if isinstance(answer, float) and 1 <= answer <= 5
        else f"gives {answer!r}: return a mean opinion score, a float from 1 to 5"
    )


def _wrong_transcript(item: Tensor, answer: Any) -> str | None:
    if not isinstance(answer, str):
        return f"gives {answer!r} for a recording: return the words heard, '' where there are none"
    return f"hears {answer!r} in no sample: return ''" if answer and not len(item) else None


def _wrong_score(item: str, answer: Any) -> str | None:
    if not (
        isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], float) and isinstance(answer[1], int)
    ):
        return f"gives {answer!r} for a text: return the pair nats (float, summed over the tokens), tokens (int)"
    nats, tokens = answer
    if not math.isfinite(nats) or nats < 0 or tokens < 0:
        return f"gives {nats} nats and {tokens} tokens: return the negative log-likelihood, finite and not below 0"
    if not item and (nats, tokens) != (0.0, 0):
        return f"gives {nats} nats and {tokens} tokens for an empty text: return (0.0, 0), and score no special token"
    return (
        f"finds no token in {item[:20]!r}: score every token of the text" if item.strip(" ?!") and not tokens else None
    )


def _wrong_embedding(item: Tensor, answer: Any) -> str | None:
    if not isinstance(answer, Tensor) or answer.ndim != 1:
        return "gives no row of numbers for a recording: return a tensor (B, E)"
    if answer.isnan().all():
        return None
    if not item.any():
        return "finds a voice where there is none: return a row of NaN for an empty and for a silent recording"
    length = float(answer.float().norm())
    return None if abs(length - 1) < 1e-3 else f"gives an embedding of length {length:.4g}: divide it by its length"


def _wrong_evidence(given: frozenset[str], item: Any, answer: Any) -> str | None:
    if not isinstance(answer, dict):
        return f"gives {answer!r} for an item: return a dictionary from kinds of evidence to values"
    unknown = sorted(set(answer) - given)
    return (
        f"gives {', '.join(unknown)}, which is not in `gives` ({', '.join(sorted(given))}): add it" if unknown else None
    )


def _assess(judge: Judge, samples: list[SpokenSample], rate_hz: int) -> list[Any]:
    return judge.assess(samples)


CONTRACTS: dict[type, Kind] = {
    Transcriber: Kind(
        lambda judge, items, rate_hz: judge.transcribe(items, rate_hz), _wrong_transcript, speech, odd_speech
    ),
    TextScorer: Kind(lambda judge, items, _: judge.score(items), _wrong_score, lambda: TEXTS, lambda: ODD_TEXTS),
    SpeakerEmbedder: Kind(
        lambda judge, items, rate_hz: judge.embed(items, rate_hz).cpu(), _wrong_embedding, speech, odd_speech
    ),
    QualityPredictor: Kind(lambda judge, items, rate_hz: judge.rate(items, rate_hz), _wrong_rating, speech, odd_speech),
}


def _kind(judge: Judge) -> Kind:
    """Return the items and requirements of a judge: of its contract, or of any judge of speech or of whole samples."""
    if kind := next((kind for contract, kind in CONTRACTS.items() if isinstance(judge, contract)), None):
        return kind
    wrong = partial(_wrong_evidence, judge.gives)
    if isinstance(judge, SpeechJudge):
        return Kind(lambda judge, items, rate_hz: judge.listen(items, rate_hz), wrong, speech, odd_speech)
    if unknown := sorted(judge.needs - set(KINDS)):
        raise DoesNotApply(f"it needs {', '.join(unknown)}, which the made-up samples do not hold")
    return Kind(_assess, wrong, usable_samples, lambda: list(incomplete_samples().values()))


def _ordinary(trial: Trial) -> tuple[list[Any], list[Any]]:
    """Return ordinary items and the answers to them. The checks share one call: a judge may take seconds per item."""
    items = _kind(trial.part).ordinary()
    if "ordinary" not in trial.answers:
        torch.manual_seed(1)
        trial.answers["ordinary"] = _answers(trial, items)
    return items, trial.answers["ordinary"]


def _answers(trial: Trial, items: list[Any], rate_hz: int = RATE_HZ) -> list[Any]:
    """Return the answers, one per item, after checking their form."""
    kind = _kind(trial.part)
    with trial.part.at_work(device_called()):
        answers = kind.ask(trial.part, items, rate_hz)
    require(len(answers) == len(items), f"{len(answers)} answers to {len(items)} items: answer each, in order")
    for item, answer in zip(items, answers, strict=True):
        wrong = kind.wrong(item, answer)
        require(wrong is None, f"it {wrong}")
    return list(answers)


def _largest_difference(found: list[Any], wanted: list[Any], seen: str) -> float:
    """Return the largest difference of two lists of answers, which have to agree."""
    pairs = enumerate(zip(found, wanted, strict=True))
    return max((_difference(one, other, f"item {place} {seen}") for place, (one, other) in pairs), default=0.0)


def _difference(one: Any, other: Any, title: str) -> float:
    """Return the largest difference of two answers; numbers have to be close, anything else equal."""
    if isinstance(one, Voices) and isinstance(other, Voices):
        one, other = vars(one), vars(other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_difference(one[kind], other[kind], title) for kind in one), default=0.0)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return max((_difference(*pair, title) for pair in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, Tensor | float) and isinstance(other, Tensor | float):
        # A row of NaN, no voice, agrees with another one.
        first, second = (torch.nan_to_num(torch.as_tensor(answer), 2.0) for answer in (one, other))
        return require_close(first, second, title)
    require(one == other, f"{title} ({one!r}, {other!r})")
    return 0.0


def _told(answers: list[Any]) -> str:
    return ", ".join(map(_shown, answers))


def _shown(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return "no voice" if answer.isnan().all() else "a voice"
    return f"{answer[0]:.4g} nats of {answer[1]} tokens" if isinstance(answer, tuple) else repr(answer)


CHECKS: tuple[Check, ...] = (form, batch_against_single, odd_items, repeatability)
register(Judge, "judge", CHECKS, form="form")
