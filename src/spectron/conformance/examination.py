"""Holds a part against its contract, check by check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spectron.conformance import encoder, language_model, speech_head, vocoder
from spectron.conformance.every_part import Output, determinism_in_eval, gradient_or_frozen, state_dict_round_trip, timed
from spectron.conformance.verdict import Check, DoesNotApply, Trial, Verdict, Violation
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.errors import SpectronError
from spectron.file_classes import line_of


@dataclass
class Suite:
    """The checks of a contract: its own, an output by which two parts are compared, and its speed."""

    checks: tuple[Check, ...]
    output: Output
    speed: Check
    trained: bool = True

    def all_checks(self) -> Iterator[tuple[str, Check]]:
        """Every check with its name, in the order in which they are run."""
        for check in self.checks:
            yield check.__name__, check
        if self.trained:
            yield "gradient_or_frozen", partial(gradient_or_frozen, output=self.output)
        yield "determinism_in_eval", partial(determinism_in_eval, output=self.output)
        yield "state_dict_round_trip", partial(state_dict_round_trip, output=self.output)
        yield "speed", self.speed


def examine(part: nn.Module, fresh: Callable[[], nn.Module], seconds: float = 4.0) -> Iterator[Verdict]:
    """Every verdict on a part, as soon as it is known.

    Args:
        part: A speech encoder, language model, speech head or vocoder, on the device on which it is to work.
        fresh: Builds the same part anew, from another seed.
        seconds: Length of each recording that its speed is measured on.
    """
    if "_modules" not in vars(part):
        yield Verdict("set up", False, "its constructor does not call super().__init__(). Call it first")
        return
    suite = suite_of(part)
    if suite is None:
        raise TypeError(f"{type(part).__name__} is under no contract")
    trial = Trial(part.eval(), fresh, seconds)
    formed = True
    for name, check in suite.all_checks():
        title = name.replace("_", " ")
        verdict = _verdict(title, check, trial) if formed else Verdict(title, None, "not tried, as the shapes are wrong")
        formed = formed and (name != "shapes" or verdict.passed is True)
        yield verdict


def malformed(part: nn.Module) -> str | None:
    """What is wrong with the form of what a part takes and gives; None where nothing is, or the part is under no contract."""
    suite = suite_of(part)
    if suite is None:
        return None
    modes = {module: module.training for module in part.modules()}
    with torch.random.fork_rng():
        verdict = _verdict("shapes", next(check for check in suite.checks if check.__name__ == "shapes"), Trial(part.eval(), lambda: part))
    for module, training in modes.items():
        module.training = training
    return None if verdict.passed else verdict.detail


def suite_of(part: nn.Module) -> Suite | None:
    """The checks of the contract that a part is under."""
    return next((suite for contract, suite in SUITES.items() if isinstance(part, contract)), None)


def _verdict(name: str, check: Check, trial: Trial) -> Verdict:
    try:
        with torch.set_grad_enabled(name == "gradient or frozen"):
            return Verdict(name, True, check(trial))
    except DoesNotApply as reason:
        return Verdict(name, None, str(reason))
    except (Violation, SpectronError) as seen:
        return Verdict(name, False, str(seen))
    except Exception as error:  # whatever the part under examination raises is what is wrong with it
        file = getattr(sys.modules.get(type(trial.part).__module__), "__file__", None)
        line = line_of(error, Path(file)) if file else ""
        where = f"{Path(file).name}, {line}" if file and line else ""
        return Verdict(name, False, f"{where}{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _hearing_speed(trial: Trial, work: Callable[[Any, torch.device, float], tuple[Any, ...]], run: Callable[..., object]) -> str:
    arguments = work(trial.part, trial.device, trial.seconds)
    taken = timed(lambda: run(trial.part, *arguments), trial.device)
    return f"{4 * trial.seconds / taken:,.0f} x real time, {1000 * taken:.1f} ms for 4 x {trial.seconds:g} s on {_device(trial.device)}"


def _reading_speed(trial: Trial) -> str:
    embeddings, visible, positions = language_model.work(trial.part, trial.device)
    taken = timed(lambda: trial.part(embeddings, visible, positions), trial.device)
    places = embeddings.shape[0] * embeddings.shape[1]
    size = f"4 x {embeddings.shape[1]}"
    return f"{places / taken:,.0f} places/s, {1000 * taken:.1f} ms for {size} places on {_device(trial.device)}"


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} with {torch.get_num_threads()} threads"


SUITES: dict[type, Suite] = {
    SpeechEncoder: Suite(encoder.CHECKS, encoder.output, partial(_hearing_speed, work=encoder.work, run=lambda part, *batch: part(*batch))),
    LanguageModel: Suite(language_model.CHECKS, language_model.output, _reading_speed),
    SpeechHead: Suite(
        speech_head.CHECKS,
        speech_head.output,
        partial(_hearing_speed, work=speech_head.work, run=lambda part, *batch: part.targets(*batch)),
    ),
    # No loss of a spoken language model reaches its vocoder.
    Vocoder: Suite(
        vocoder.CHECKS, vocoder.output, partial(_hearing_speed, work=vocoder.work, run=lambda part, *batch: part(*batch)), trained=False
    ),
}
