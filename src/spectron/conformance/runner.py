"""Examination of a part against its contract, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from spectron.config.user_classes import file_and_line
from spectron.conformance import encoder, language_model, segment, speech_head, tokenizer, vocoder
from spectron.conformance.common import Output, determinism_in_eval, gradient_or_frozen, state_dict_round_trip, timed
from spectron.conformance.result import Check, CheckResult, ContractViolation, DoesNotApply, Trial
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.errors import SpectronError
from spectron.probing import in_eval
from spectron.segments import Segment
from spectron.tokenizers import SpeechTokenizer


@dataclass
class Suite:
    """Checks of one contract.

    Args:
        kind: Name of such a part on the command line.
        checks: The checks by name, in the order in which they run.
        form: Name of the check of inputs and outputs; if it fails, the checks after it are skipped.
    """

    kind: str
    checks: dict[str, Check]
    form: str

    def at_build(self) -> list[str]:
        """Return the checks that are cheap enough to run whenever a user's part is built: form and lengths."""
        return [name for name in (self.form, "lengths") if name in self.checks]


def register(contract: type, kind: str, checks: Iterable[Check], form: str) -> None:
    """Register the checks of another package's contract; arguments as in ``Suite``."""
    SUITES[contract] = Suite(kind, _named(checks), form)


def examine(part: nn.Module, fresh: Callable[[], nn.Module], seconds: float = 4.0) -> Iterator[CheckResult]:
    """Run all checks of a part and yield each result as soon as it is known.

    Args:
        part: A part with a contract, on the device to be used.
        fresh: Builds the same part again, from another seed.
        seconds: Length of each recording for measuring speed.

    Raises:
        TypeError: if the part has no contract.
    """
    if "_modules" not in vars(part):
        yield CheckResult("set up", False, "its constructor does not call super().__init__(). Call it first")
        return
    suite = suite_of(type(part))
    if suite is None:
        raise TypeError(f"{type(part).__name__} is a subclass of no contract")
    trial = Trial(part.eval(), fresh, seconds)
    formed = True
    for name, check in suite.checks.items():
        skipped = CheckResult(name, None, f"skipped: correct {suite.form} first")
        result = _result(name, check, trial) if formed else skipped
        formed = formed and (name != suite.form or result.passed is True)
        yield result


def malformed(part: nn.Module) -> str | None:
    """Return what is wrong with form or lengths of a new part; None if nothing is wrong or the part has no contract.

    The part keeps its modes, and the random generators keep their states.
    """
    suite = suite_of(type(part))
    if suite is None:
        return None
    with torch.random.fork_rng(), in_eval(part):
        for name in suite.at_build():
            result = _result(name, suite.checks[name], Trial(part, lambda: part))
            if result.passed is False:
                return result.detail
    return None


def suite_of(cls: type) -> Suite | None:
    """Return the checks of a class's contract, None if it has no contract."""
    return next((suite for contract, suite in SUITES.items() if issubclass(cls, contract)), None)


def _result(name: str, check: Check, trial: Trial) -> CheckResult:
    """Run one check; whatever it raises is the part's fault and becomes the result."""
    try:
        with torch.set_grad_enabled(name == "gradient or frozen"):
            return CheckResult(name, True, check(trial))
    except DoesNotApply as reason:
        return CheckResult(name, None, str(reason))
    except (ContractViolation, SpectronError) as seen:
        return CheckResult(name, False, str(seen))
    except Exception as error:
        where = file_and_line(error, type(trial.part))
        return CheckResult(name, False, f"{where}{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _audio_speed(
    trial: Trial, work: Callable[[Any, torch.device, float], tuple[Any, ...]], run: Callable[..., object]
) -> str:
    arguments = work(trial.part, trial.device, trial.seconds)
    taken = timed(lambda: run(trial.part, *arguments), trial.device)
    per_batch = f"{1000 * taken:.1f} ms for 4 x {trial.seconds:g} s on {_device(trial.device)}"
    return f"{4 * trial.seconds / taken:,.0f} x real time, {per_batch}"


def _text_speed(trial: Trial) -> str:
    embeddings, attention_mask, positions = language_model.work(trial.part, trial.device)
    taken = timed(lambda: trial.part(embeddings, attention_mask, positions), trial.device)
    places = embeddings.shape[0] * embeddings.shape[1]
    size = f"4 x {embeddings.shape[1]}"
    return f"{places / taken:,.0f} positions/s, {1000 * taken:.1f} ms for {size} positions on {_device(trial.device)}"


def _device(device: torch.device) -> str:
    return (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type} with {torch.get_num_threads()} threads"
    )


def _named(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.__name__.replace("_", " "): check for check in checks}


def _of_module(kind: str, checks: Iterable[Check], output: Output, speed: Check, trained: bool = True) -> Suite:
    """Return a contract's checks and those of every part with weights; ``output`` is what these compare."""
    gradient: dict[str, Check] = {"gradient or frozen": partial(gradient_or_frozen, output=output)} if trained else {}
    common: dict[str, Check] = {
        "determinism in eval": partial(determinism_in_eval, output=output),
        "state dict round trip": partial(state_dict_round_trip, output=output),
        "speed": speed,
    }
    return Suite(kind, _named(checks) | gradient | common, form="shapes")


_called = partial(_audio_speed, run=lambda part, *batch: part(*batch))
_encode_speed = partial(
    _audio_speed, work=tokenizer.work, run=lambda part, waveform, lengths: [part.encode(row) for row in waveform]
)
_head_speed = partial(_audio_speed, work=speech_head.work, run=lambda part, *batch: part.targets(*batch))
SUITES: dict[type, Suite] = {
    SpeechEncoder: _of_module("encoder", encoder.CHECKS, encoder.output, partial(_called, work=encoder.work)),
    LanguageModel: _of_module("language_model", language_model.CHECKS, language_model.output, _text_speed),
    SpeechHead: _of_module("head", speech_head.CHECKS, speech_head.output, _head_speed),
    Segment: _of_module("segment", segment.CHECKS, segment.output, partial(_called, work=segment.work)),
    # No loss of a spoken language model reaches its tokenizer or its vocoder.
    SpeechTokenizer: _of_module("tokenizer", tokenizer.CHECKS, tokenizer.output, _encode_speed, trained=False),
    Vocoder: _of_module("vocoder", vocoder.CHECKS, vocoder.output, partial(_called, work=vocoder.work), trained=False),
}
