"""Groups of recordings of one sample rate and similar length, which a judge receives at once."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from spectron.evaluation.judges.chunking import LEAST_SECONDS, TOGETHER_SECONDS, alike
from spectron.evaluation.sample import SpokenSample

Recording = tuple[Tensor, int] | None  # waveform (S,) and sample rate in Hz


def prompts(samples: list[SpokenSample]) -> list[Recording]:
    """Return the prompts of samples."""
    return [(sample.prompt, sample.prompt_rate_hz) for sample in samples]


def generated_speech(samples: list[SpokenSample]) -> list[Recording]:
    """Return the generated speech of samples; None if it is too short for every judge."""
    return [
        (sample.generated, sample.speech_rate_hz) if sample.generated_seconds >= LEAST_SECONDS else None
        for sample in samples
    ]


def grouped(recordings: list[Recording]) -> Iterator[tuple[list[int], list[Tensor], int]]:
    """Yield places, waveforms (S,) and sample rate of recordings of one rate and similar length; None is left out."""
    by_rate: dict[int, dict[int, Tensor]] = {}
    for place, recording in enumerate(recordings):
        if recording is not None:
            by_rate.setdefault(recording[1], {})[place] = recording[0]
    for rate_hz, waveforms in sorted(by_rate.items()):
        places = list(waveforms)
        for group in alike([len(waveforms[place]) for place in places], int(TOGETHER_SECONDS * rate_hz)):
            chosen = [places[number] for number in group]
            yield chosen, [waveforms[place] for place in chosen], rate_hz
