"""Holds a part against its contract, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from spectron.config.user_classes import file_and_line
from spectron.conformance import encoder, language_model, speech_head, vocoder
from spectron.conformance.common import Output, determinism_in_eval, gradient_or_frozen, state_dict_round_trip, timed
from spectron.conformance.result import Check, CheckResult, ContractViolation, DoesNotApply, Trial
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.errors import SpectronError


@dataclass
class Suite:
    """The checks of a contract.

    Args:
        kind: What a part under it is called on the command line.
        checks: One function a check, in the order in which they are run; its name is the check's.
        form: The check on what a part takes and gives: where it fails, those behind it would only repeat it.
    """

    kind: str
    checks: dict[str, Check]
    form: str


def register(contract: type, kind: str, checks: Iterable[Check], form: str) -> None:
    """Have the parts under a contract of another package examined by these checks; arguments as of ``Suite``."""
    SUITES[contract] = Suite(kind, _named(checks), form)


def examine(part: nn.Module, fresh: Callable[[], nn.Module], seconds: float = 4.0) -> Iterator[CheckResult]:
    """Every verdict on a part, as soon as it is known.

    Args:
        part: A part under a contract, on the device on which it is to work.
        fresh: Builds the same part anew, from another seed.
        seconds: Length of each recording that its speed is measured on.
    """
    if "_modules" not in vars(part):
        yield CheckResult("set up", False, "its constructor does not call super().__init__(). Call it first")
        return
    suite = suite_of(type(part))
    if suite is None:
        raise TypeError(f"{type(part).__name__} is under no contract")
    trial = Trial(part.eval(), fresh, seconds)
    formed = True
    for name, check in suite.checks.items():
        verdict = (
            _verdict(name, check, trial) if formed else CheckResult(name, None, f"not tried: mend {suite.form} first")
        )
        formed = formed and (name != suite.form or verdict.passed is True)
        yield verdict


def malformed(part: nn.Module) -> str | None:
    """What is wrong with the form of what a part takes and gives; None where nothing is, or the part is under no contract."""
    suite = suite_of(type(part))
    if suite is None:
        return None
    modes = {module: module.training for module in part.modules()}
    with torch.random.fork_rng():
        verdict = _verdict(suite.form, suite.checks[suite.form], Trial(part.eval(), lambda: part))
    for module, training in modes.items():
        module.training = training
    return None if verdict.passed else verdict.detail


def suite_of(cls: type) -> Suite | None:
    """The checks of the contract that a class is under."""
    return next((suite for contract, suite in SUITES.items() if issubclass(cls, contract)), None)


def _verdict(name: str, check: Check, trial: Trial) -> CheckResult:
    try:
        with torch.set_grad_enabled(name == "gradient or frozen"):
            return CheckResult(name, True, check(trial))
    except DoesNotApply as reason:
        return CheckResult(name, None, str(reason))
    except (ContractViolation, SpectronError) as seen:
        return CheckResult(name, False, str(seen))
    except Exception as error:  # whatever the part under examination raises is what is wrong with it
        where = file_and_line(error, type(trial.part))
        return CheckResult(name, False, f"{where}{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _hearing_speed(
    trial: Trial, work: Callable[[Any, torch.device, float], tuple[Any, ...]], run: Callable[..., object]
) -> str:
    arguments = work(trial.part, trial.device, trial.seconds)
    taken = timed(lambda: run(trial.part, *arguments), trial.device)
    return f"{4 * trial.seconds / taken:,.0f} x real time, {1000 * taken:.1f} ms for 4 x {trial.seconds:g} s on {_device(trial.device)}"


def _reading_speed(trial: Trial) -> str:
    embeddings, attention_mask, positions = language_model.work(trial.part, trial.device)
    taken = timed(lambda: trial.part(embeddings, attention_mask, positions), trial.device)
    places = embeddings.shape[0] * embeddings.shape[1]
    size = f"4 x {embeddings.shape[1]}"
    return f"{places / taken:,.0f} places/s, {1000 * taken:.1f} ms for {size} places on {_device(trial.device)}"


def _device(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} with {torch.get_num_threads()} threads"
    )


def _named(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.__name__.replace("_", " "): check for check in checks}


def _of_module(kind: str, checks: Iterable[Check], output: Output, speed: Check, trained: bool = True) -> Suite:
    """A contract's own checks and what every part with weights is held to; ``output`` tells two parts apart."""
    gradient: dict[str, Check] = {"gradient or frozen": partial(gradient_or_frozen, output=output)} if trained else {}
    common: dict[str, Check] = {
        "determinism in eval": partial(determinism_in_eval, output=output),
        "state dict round trip": partial(state_dict_round_trip, output=output),
        "speed": speed,
    }
    return Suite(kind, _named(checks) | gradient | common, form="shapes")


_called = partial(_hearing_speed, run=lambda part, *batch: part(*batch))
_head_speed = partial(_hearing_speed, work=speech_head.work, run=lambda part, *batch: part.targets(*batch))
SUITES: dict[type, Suite] = {
    SpeechEncoder: _of_module("encoder", encoder.CHECKS, encoder.output, partial(_called, work=encoder.work)),
    LanguageModel: _of_module("language_model", language_model.CHECKS, language_model.output, _reading_speed),
    SpeechHead: _of_module("head", speech_head.CHECKS, speech_head.output, _head_speed),
    # No loss of a spoken language model reaches its vocoder.
    Vocoder: _of_module("vocoder", vocoder.CHECKS, vocoder.output, partial(_called, work=vocoder.work), trained=False),
}
