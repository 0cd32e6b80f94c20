"""Made-up samples with evidence, on which the checks try metrics and judges without a model and without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from spectron.evaluation.sample import (
    QUALITY,
    TEXT_SCORE,
    TRANSCRIPT,
    VOICE,
    SpokenSample,
    TextScore,
    Voices,
)

RATE_HZ, N_MELS = 16000, 20
JUDGE = "made_up"  # the judge whose evidence the samples hold
KINDS = (QUALITY, TEXT_SCORE, TRANSCRIPT, VOICE)  # evidence that they hold without examples
TRANSCRIPTS = ["the cow says moo", "the cow says boo", "the dog moo", "moo", "a cat says"]

Examples = Mapping[str, Sequence[Any]]  # evidence by kind, for kinds of custom judges


def usable_samples(examples: Examples | None = None) -> list[SpokenSample]:
    """Return five judged samples that lack nothing and differ from each other."""
    return [_sample(number, transcript, examples or {}) for number, transcript in enumerate(TRANSCRIPTS)]


def incomplete_samples(examples: Examples | None = None) -> dict[str, SpokenSample]:
    """Return samples of an untrained model and of incomplete data, by a description of what is odd about them."""
    kinds = dict.fromkeys(examples or {})
    whole = _sample(9, "moo", examples or {})
    no_voice = Voices(whole.evidence_of(VOICE).prompt, torch.full((8,), torch.nan))
    found = {TRANSCRIPT: "", TEXT_SCORE: TextScore(0.0, 0), VOICE: no_voice, QUALITY: None, **kinds}
    nothing, no_mel = torch.zeros(0), torch.zeros(0, N_MELS)
    silent: dict[str, Any] = {"evidence": {JUDGE: found}, "generated": torch.zeros(8000)}
    speechless = silent | {"generated": nothing, "generated_mel": no_mel}
    unrecorded = {"reference": nothing, "reference_text": "", "reference_mel": no_mel, "teacher_forced_mel": None}
    textless = {"text": "", "transcript": None, "continuation_text": None, "text_stopped": None}
    changes: dict[str, dict[str, Any]] = {
        "one of silent speech": silent,
        "one without speech": speechless,
        "one without a recording": unrecorded,
        "one of a silent recording": {"reference": torch.zeros(9600)},
        "one without text": textless,
        "one of empty text": {"text": "", "transcript": "", "continuation_text": ""},
        "one without accepted answers": {"answers": []},
        "one without anything": speechless | unrecorded | textless | {"answers": [], "prompt_text": "", "speaker": ""},
    }
    return {title: replace(whole, **change) for title, change in changes.items()}


def _sample(number: int, transcript: str, examples: Examples) -> SpokenSample:
    draw = torch.Generator().manual_seed(number)

    def noise(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(*shape, generator=draw)

    def voice(samples: int, pitch_hz: float) -> torch.Tensor:
        turns = pitch_hz * torch.arange(samples) / RATE_HZ
        return torch.stack(
            [torch.sin(2 * torch.pi * harmonic * turns) / (10 * harmonic) for harmonic in range(1, 20)]
        ).sum(0)

    frames, samples = 40 + 8 * number, 8000 + 1600 * number
    sample = SpokenSample(
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
        text_stopped=number != 2,
        prompt_mel=noise(40, N_MELS),
        reference_mel=noise(48, N_MELS),
        generated_mel=noise(frames, N_MELS),
        frame_rate_hz=80.0,
        teacher_forced_mel=noise(48, N_MELS),
    )
    embeddings = [torch.nn.functional.normalize(noise(8), dim=0) for _ in range(2)]
    sample.evidence[JUDGE] = {
        TRANSCRIPT: transcript,
        TEXT_SCORE: TextScore(4.0 + number, len(transcript.split())),
        VOICE: Voices(*embeddings),
        QUALITY: 2.5 + 0.1 * number,
        **{kind: values[number % len(values)] for kind, values in examples.items()},
    }
    return sample
