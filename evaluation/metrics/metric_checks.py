"""The contract of a metric of spoken samples, one function a check; each is tried on made-up samples that judges have looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from spectron.conformance import Check, ContractViolation, DoesNotApply, Trial, register, require
from spectron.evaluation.metrics.metric import RatioMetric, SpokenMetric
from spectron.evaluation.metrics.names import SKIPPED, MetricSpec
from spectron.evaluation.sample import SpokenSample
from spectron.tracking.measure import MetricValue

RATE_HZ, MEL_BINS = 16000, 20
FILLED_BY = {  # what each judge writes into a sample
    "transcriber": ("heard",),
    "text_scorer": ("nll_nats", "num_tokens"),
    "speaker_embedder": ("prompt_embedding", "generated_embedding"),
    "second_speaker_embedder": ("second_prompt_embedding", "second_generated_embedding"),
    "quality_predictor": ("predicted_mos",),
}
STATE_CURE = "keep all that update changes in states: self.add_state(name, default, dist_reduce_fx='sum' or 'cat')"

Values = dict[str, tuple[float, int]]


def form(trial: Trial) -> str:
    """Measures with names told beforehand, each once, with units and directions."""
    metric: SpokenMetric = trial.part
    if isinstance(metric, RatioMetric):
        labelled = isinstance(getattr(metric, "label", None), MetricSpec)
        require(
            labelled,
            "it sets no label: say label = MetricSpec(name, unit, whether higher is better or None) in the class",
        )
    unknown = sorted(set(metric.needs) - FILLED_BY.keys())
    require(not unknown, f"it needs {', '.join(unknown)}, and the judges are {', '.join(FILLED_BY)}: correct `needs`")
    measures = _measures(trial, [usable()])
    listed = (
        isinstance(measures, list) and bool(measures) and all(isinstance(measure, MetricValue) for measure in measures)
    )
    require(
        listed,
        f"measures gives {measures!r}: return a list of spectron.tracking.measure.MetricValue, the one that matters first",
    )
    names = [measure.name for measure in measures]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"measures gives {', '.join(twice)} more than once: give every measure a name of its own")
    untold = sorted(set(names) - metric.measure_names())
    require(
        not untold,
        f"measures gives {', '.join(untold)}, and measure_names does not: add the name there, so that a monitor may be it",
    )
    for measure in measures:
        said = isinstance(measure.unit, str) and measure.higher_is_better in (True, False, None)
        require(
            said,
            f"{measure.name} has unit {measure.unit!r} and direction {measure.higher_is_better!r}: give a text, and a bool or None",
        )
    ways = {True: "higher is better", False: "lower is better", None: "neither way better"}
    head = measures[0]
    return f"{head.name} in {head.unit or 'no unit'}, {ways[head.higher_is_better]}; {head.count} of {len(usable())} made-up samples used"


def needs(trial: Trial) -> str:
    """It gives the same without the judges that it does not need."""
    spared = [judge for judge in FILLED_BY if judge not in trial.part.needs]
    empty: dict[str, Any] = {name: None for judge in spared for name in FILLED_BY[judge]}
    whole = _whole(trial)
    seen = f"without {', '.join(spared)} it gives something else: add the judge whose work it reads to `needs`"
    _require_same(_values(_measures(trial, [[replace(sample, **empty) for sample in usable()]])), whole, seen)
    return f"needs {', '.join(sorted(trial.part.needs)) or 'no judge'}, and reads the work of no other"


def pieces(trial: Trial) -> str:
    """Samples one by one give what all of them give at once."""
    whole = _whole(trial)
    seen = "samples one by one give something else than all at once: add up sums and counts, and divide in measures"
    _require_same(_values(_measures(trial, [[sample] for sample in usable()])), whole, seen)
    return _shown(whole)


def order(trial: Trial) -> str:
    """The order of the samples does not matter."""
    whole = _whole(trial)
    seen = "samples in reverse order give something else: let no sample's share depend on those before it"
    _require_same(_values(_measures(trial, [usable()[::-1]])), whole, seen)
    return "the reverse order gives the same"


def reset(trial: Trial) -> str:
    """After a reset it is as new."""
    whole = _whole(trial)
    metric = trial.fresh()
    metric.update(usable()[:2])
    metric.reset()
    metric.update(usable())
    _require_same(_values(metric.measures()), whole, f"what came before a reset is in the result: {STATE_CURE}")
    return "nothing is left of what came before"


def ranks(trial: Trial) -> str:
    """The states of several processes, added up, give what one process gives for all samples."""
    whole = _whole(trial)
    first, second, idle = trial.fresh(), trial.fresh(), trial.fresh()
    first.update(usable()[:2])
    second.update(usable()[2:])
    try:
        first.merge_state(second)
        first.merge_state(idle)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ContractViolation(f"its states do not add up over processes ({error}): {STATE_CURE}") from error
    _require_same(
        _values(first.measures()), whole, f"the states of several processes added up give something else: {STATE_CURE}"
    )
    return "three processes, one of them idle, add up to the whole"


def odd_samples(trial: Trial) -> str:
    """Samples that lack something are used or counted as skipped, among others and alone, and nothing is made up of nothing."""
    told = []
    _require_sound(_measures(trial, []), 0, "no sample")
    for title, sample in odd().items():
        among = _measures(trial, [[*usable(), sample]])
        _require_sound(among, len(usable()) + 1, f"{len(usable())} samples and {title}")
        alone = _measures(trial, [[sample]])
        _require_sound(alone, 1, f"{title} alone")
        broken = {
            name: score
            for name, score in trial.part.scores(sample).items()
            if score is not None and not math.isfinite(score)
        }
        require(not broken, f"scores gives {broken} for {title}: give None where a sample cannot be used")
        told += [title] if alone[0].count == 0 else []
    return f"skipped: {', '.join(told) or 'none'}"


def scores(trial: Trial) -> str:
    """Scores of a sample are what measures give for it alone."""
    for sample in usable():
        alone = _values(_measures(trial, [[sample]]))
        for name, score in trial.part.scores(sample).items():
            value = alone.get(name, (score, 0))[0]
            same = (
                math.isnan(value or 0.0)
                if score is None
                else math.isclose(score, value or 0.0, rel_tol=1e-4, abs_tol=1e-6)
            )
            require(same, f"{name} of one sample: scores says {score}, measures {value}. Work both out in one place")
    return f"columns of the table of samples: {', '.join(trial.part.scores(usable()[0]))}"


def usable() -> list[SpokenSample]:
    """Five judged samples that lack nothing, no two alike."""
    heard = ["the cow says moo", "the cow says boo", "the dog moo", "moo", "a cat says"]
    return [_sample(number, text) for number, text in enumerate(heard)]


def odd() -> dict[str, SpokenSample]:
    """Samples such as a model early in its training and data of all kinds give, by what is odd about them."""
    nothing = torch.zeros(0)
    no_voice = {f"{prefix}generated_embedding": torch.full((8,), torch.nan) for prefix in ("", "second_")}
    unheard = {"heard": "", "nll_nats": 0.0, "num_tokens": 0, "predicted_mos": None, **no_voice}
    silent = unheard | {"generated": torch.zeros(8000)}
    speechless = unheard | {"generated": nothing, "generated_mel": torch.zeros(0, MEL_BINS)}
    unrecorded = {
        "reference": nothing,
        "reference_text": "",
        "reference_mel": torch.zeros(0, MEL_BINS),
        "teacher_forced_mel": None,
    }
    textless = {"text": "", "transcript": None, "continuation_text": None}
    wordless = {"text": "", "transcript": "", "continuation_text": ""}
    changes: dict[str, dict[str, Any]] = {
        "one of silent speech": silent,
        "one without speech": speechless,
        "one without a recording": unrecorded,
        "one of a silent recording": {"reference": torch.zeros(9600)},
        "one without text": textless,
        "one of empty text": wordless,
        "one without accepted answers": {"answers": []},
        "one without anything": speechless | unrecorded | textless | {"answers": [], "prompt_text": "", "speaker": ""},
    }
    return {title: replace(_sample(9, "moo"), **change) for title, change in changes.items()}


def _sample(number: int, heard: str) -> SpokenSample:
    draw = torch.Generator().manual_seed(number)

    def noise(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(*shape, generator=draw)

    def voice(samples: int, pitch_hz: float) -> torch.Tensor:
        turns = pitch_hz * torch.arange(samples) / RATE_HZ
        return torch.stack(
            [torch.sin(2 * torch.pi * harmonic * turns) / (10 * harmonic) for harmonic in range(1, 20)]
        ).sum(0)

    frames, samples = 40 + 8 * number, 8000 + 1600 * number
    return SpokenSample(
        id=f"sample-{number}",
        speaker=f"speaker-{number % 2}",
        prompt=noise(8000),
        prompt_rate_hz=RATE_HZ,
        prompt_text="what does the cow say",
        reference=voice(9600, 120.0) + 0.01 * noise(9600),
        reference_text="the cow says moo",
        answers=["moo"],
        split="",
        generated=voice(samples, 130.0 + 5 * number) + 0.01 * noise(samples),
        speech_rate_hz=RATE_HZ,
        text="what does the cow say the cow says moo",
        transcript="what does the cow say" if number % 2 else "what does a cow say",
        continuation_text=" ".join(["the cow says moo", "or so"][: 1 + number % 2]),
        stopped=number != 1,
        prompt_mel=noise(40, MEL_BINS),
        reference_mel=noise(48, MEL_BINS),
        generated_mel=noise(frames, MEL_BINS),
        frame_rate_hz=80.0,
        teacher_forced_mel=noise(48, MEL_BINS),
        heard=heard,
        nll_nats=4.0 + number,
        num_tokens=len(heard.split()),
        prompt_embedding=torch.nn.functional.normalize(noise(8), dim=0),
        generated_embedding=torch.nn.functional.normalize(noise(8), dim=0),
        second_prompt_embedding=torch.nn.functional.normalize(noise(8), dim=0),
        second_generated_embedding=torch.nn.functional.normalize(noise(8), dim=0),
        predicted_mos=2.5 + 0.1 * number,
    )


def _measures(trial: Trial, batches: Iterable[list[SpokenSample]]) -> list[MetricValue]:
    metric = trial.fresh()
    for batch in batches:
        metric.update(batch)
    return metric.measures()


def _values(measures: list[MetricValue]) -> Values:
    """Values and counts by name; intervals are drawn item by item, and may differ where order does."""
    return {measure.name: (measure.value, measure.count) for measure in measures}


def _whole(trial: Trial) -> Values:
    measures = _measures(trial, [usable()])
    if not measures[0].count:
        raise DoesNotApply("it can use none of the made-up samples")
    return _values(measures)


def _require_same(found: Values, wanted: Values, seen: str) -> None:
    for name, (value, count) in wanted.items():
        other, others = found.get(name, (math.nan, 0))
        same = count == others and (
            math.isclose(value, other, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(value) and math.isnan(other))
        )
        require(same, f"{seen}. {name} is {other:.6g} of {others}, and should be {value:.6g} of {count}")


def _require_sound(measures: list[MetricValue], given: int, title: str) -> None:
    """A finite value of what was used, NaN of nothing, and every sample used or told as skipped."""
    head = measures[0]
    if head.count:
        cure = "leave out a sample that has no value or no weight (of a RatioMetric, parts gives None)"
        require(math.isfinite(head.value), f"{title}: {head.name} is {head.value}; {cure}")
    else:
        require(
            math.isnan(head.value),
            f"{title}: {head.name} is {head.value} of 0 items; give NaN, or it is taken for a result",
        )
    skipped = next((measure.value for measure in measures if measure.name == head.name + SKIPPED), 0)
    told = f"{title}: {head.count} used and {skipped:g} told as skipped, of {given}"
    require(
        head.count + skipped == given, f"{told}; count what cannot be used in a measure named {head.name + SKIPPED}"
    )


def _shown(values: Values) -> str:
    name, (value, count) = next(iter(values.items()))
    return f"{name} of {count} samples, one by one and at once: {value:.5g}"


CHECKS: tuple[Check, ...] = (form, needs, pieces, order, reset, ranks, odd_samples, scores)
register(SpokenMetric, "metric", CHECKS, form="form")
