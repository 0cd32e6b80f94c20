"""The contracts of the judges, one function a check; a judge is tried on made-up speech or on texts, without the model under test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spectron.conformance import Check, Trial, register, require, require_close
from spectron.devices import device_called
from spectron.evaluation.judges.judge import Judge, QualityPredictor, SpeakerEmbedder, TextScorer, Transcriber

RATE_HZ = 16000
OTHER_RATE_HZ = 22050
TEXTS = ["the cow says moo", "paris is the capital of france and of the whole of fashion", "moo"]
ODD_TEXTS = ["", " ", "?!", "the cow says moo " * 300]  # the last one is longer than the context of most models
STATE_CURE = "load, and not an answer, may change it; seed or switch off whatever it draws"


@dataclass
class Kind:
    """What a judge of one contract is asked, and what its answers have to be.

    Args:
        ask: Answers to the items, one each; recordings are of the rate given.
        wrong: What is wrong with an answer to an item, and the cure; None where nothing is.
        ordinary: Gives items that any judge of the kind has an answer to.
        odd: Gives items such as a model early in its training makes.
    """

    ask: Callable[[Any, list[Any], int], Any]
    wrong: Callable[[Any, Any], str | None]
    ordinary: Callable[[], list[Any]]
    odd: Callable[[], list[Any]]


def form(trial: Trial) -> str:
    """It has a title, loads, and gives an answer of the right form to every item, at another sample rate too."""
    judge: Judge = trial.part
    require(
        isinstance(judge.title, str) and bool(judge.title),
        f"its title is {judge.title!r}: give class and weights in a text",
    )
    kind = _kind(judge)
    _answers(trial, kind.ordinary()[:1], OTHER_RATE_HZ)
    _answers(trial, kind.ordinary())
    return f"{judge.title}: {sum(p.numel() for p in judge.parameters()):,} parameters, {len(kind.ordinary())} items answered"


def batch_against_single(trial: Trial) -> str:
    """Each item is answered in a batch as it is alone."""
    items = _kind(trial.part).ordinary()
    together = _answers(trial, items)
    alone = [_answers(trial, [item])[0] for item in items]
    seen = "has another answer alone than in a batch: mask the padding, or go through the items one by one"
    return f"answers differ by {_largest_difference(alone, together, seen):.1e}: {_told(together)}"


def odd_items(trial: Trial) -> str:
    """Empty, silent and very short items are answered, and disturb no other."""
    kind = _kind(trial.part)
    items, odd = kind.ordinary(), kind.odd()
    found = _answers(trial, [*items, *odd])
    seen = "has another answer beside empty and odd ones: keep the rows of a batch apart"
    _largest_difference(found[: len(items)], _answers(trial, items), seen)
    return f"answered: {_told(found[len(items) :])}"


def repeatability(trial: Trial) -> str:
    """The same item has the same answer, whatever was asked before."""
    items = _kind(trial.part).ordinary()
    torch.manual_seed(1)
    first = _answers(trial, items)
    torch.manual_seed(2)
    _answers(trial, items[::-1])
    seen = f"has another answer when asked again: {STATE_CURE}"
    return f"answers differ by {_largest_difference(_answers(trial, items), first, seen):.1e}"


def speech() -> list[Tensor]:
    """Three recordings (S,) of something like a voice: harmonics that come and go, in noise."""
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
    """A second of digital silence, no sample, one sample, and 5 ms."""
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
        return f"gives {nats} nats and {tokens} tokens: return the negative log-likelihood, which is finite and not below 0"
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


KINDS: dict[type, Kind] = {
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
    kind = next((kind for contract, kind in KINDS.items() if isinstance(judge, contract)), None)
    require(
        kind is not None,
        f"it is no judge that anything asks: derive it from {', '.join(contract.__name__ for contract in KINDS)}",
    )
    assert kind is not None
    return kind


def _answers(trial: Trial, items: list[Any], rate_hz: int = RATE_HZ) -> list[Any]:
    """The answers, one an item, each of the right form."""
    kind = _kind(trial.part)
    with trial.part.at_work(device_called()):
        answers = kind.ask(trial.part, items, rate_hz)
    require(len(answers) == len(items), f"{len(answers)} answers to {len(items)} items: answer each, in order")
    for item, answer in zip(items, answers, strict=True):
        wrong = kind.wrong(item, answer)
        require(wrong is None, f"it {wrong}")
    return list(answers)


def _largest_difference(found: list[Any], wanted: list[Any], seen: str) -> float:
    """The largest difference of two lists of answers, which have to agree."""
    largest = 0.0
    for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
        title = f"item {place} {seen}"
        if isinstance(other, str) or other is None or one is None:
            require(one == other, f"{title} ({one!r}, {other!r})")
        else:  # a row of NaN, no voice, agrees with another
            one, other = (torch.nan_to_num(torch.as_tensor(answer), 2.0) for answer in (one, other))
            largest = max(largest, require_close(one, other, title))
    return largest


def _told(answers: list[Any]) -> str:
    return ", ".join(map(_shown, answers))


def _shown(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return "no voice" if answer.isnan().all() else "a voice"
    return f"{answer[0]:.4g} nats of {answer[1]} tokens" if isinstance(answer, tuple) else repr(answer)


CHECKS: tuple[Check, ...] = (form, batch_against_single, odd_items, repeatability)
register(Judge, "judge", CHECKS, form="form")
