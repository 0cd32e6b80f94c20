"""Ceilings and baselines that are evaluated like a system, to interpret the system's values.

Ceilings are ``recording``, the true recordings, and ``vocoded``, the same after the system's vocoder. Baselines are
``silence``, and ``shuffled``, the recording of another item. A metric that does not separate baselines from ceilings
is not evidence about a system either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.mel import MelConfig
from spectron.batch import Continuation, Prompts, SpeechBatch, unpadded
from spectron.contracts import SpeechHead, SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.evaluation.systems.answering import FrontEnds
from spectron.ranges import SampleRate, checks_ranges

Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class FixedAnswer:
    """Answer that is known before the evaluation: a waveform (S,) and its text."""

    waveform: Tensor
    text: str


def recordings(batch: SpeechBatch) -> dict[str, FixedAnswer]:
    """Return the true continuation of each prompt, by id."""
    waveforms = unpadded(batch.continuation, batch.continuation_num_samples)
    return dict(zip(batch.ids, map(FixedAnswer, waveforms, batch.continuation_text), strict=True))


def silent_answers(batch: SpeechBatch) -> dict[str, FixedAnswer]:
    """Return silence as long as the true continuation of each prompt, by id."""
    return {
        name: replace(answer, waveform=torch.zeros_like(answer.waveform), text="")
        for name, answer in recordings(batch).items()
    }


def shuffled_answers(batch: SpeechBatch, other: SpeechBatch) -> dict[str, FixedAnswer]:
    """Return for each row of ``batch`` the continuation of another item in ``other``, by another speaker if possible.

    Rows for which ``other`` contains no other item are left out.
    """
    speakers = batch.speakers or [""] * len(batch.ids)
    donors = list(zip(other.ids, other.speakers or [""] * len(other.ids), recordings(other).values(), strict=True))
    given: dict[str, FixedAnswer] = {}
    for place, (name, speaker) in enumerate(zip(batch.ids, speakers, strict=True)):
        # Every row starts its search at another donor, so that the rows get different answers.
        start = (place + 1) % max(len(donors), 1)
        candidates = [donor for donor in donors[start:] + donors[:start] if donor[0] != name]
        by_others = [donor for donor in candidates if donor[1] != speaker]
        if candidates:
            given[name] = (by_others or candidates)[0][2]
    return given


def as_system(
    system: SpokenLanguageModel, answers: dict[str, FixedAnswer], device: torch.device, vocoded: bool = False
) -> FixedAnswers:
    """Return fixed answers with the rates and spectrograms of a system, optionally after its head's format and vocoder.

    ``vocoded`` needs a system with ``head`` and ``vocoder``.
    """
    front_ends = FrontEnds(system, device)
    head, vocoder = (cast(Any, getattr(system, name, None)) for name in ("head", "vocoder"))

    def targets(waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        found = head.targets(waveform, num_samples)
        if found.mel is not None:
            return found.mel, found.num_frames
        return head.vocoder_input(found.steps, found.num_steps)[0], found.num_frames

    def copied(waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        return vocoder(*targets(waveform, num_samples))

    is_mel = isinstance(head, SpeechHead) and isinstance(head.format, MelConfig)
    spectrogram = targets if is_mel else front_ends.speech
    return FixedAnswers(answers, spectrogram, front_ends.settings, copied if vocoded else None, system.prompt_rate_hz)


@checks_ranges
class FixedAnswers(SpokenLanguageModel):
    """System that returns a fixed answer to every prompt, optionally after copy synthesis.

    Args:
        answers: The answers by the id of their prompt; every prompt needs one.
        spectrogram: Function from waveforms (B, S) with (B,) valid samples to the returned spectrograms.
        mel: Settings of the spectrogram.
        copied: Function from waveforms to their copies by a vocoder; None returns the waveforms unchanged.
        prompt_rate_hz: Sample rate of the prompts.
    """

    def __init__(
        self,
        answers: dict[str, FixedAnswer],
        spectrogram: Transform,
        mel: MelConfig,
        copied: Transform | None,
        prompt_rate_hz: SampleRate,
    ) -> None:
        self.answers = answers
        self.spectrogram = spectrogram
        self.format = mel
        self.copied = copied
        self.prompt_rate_hz = prompt_rate_hz
        self.speech_rate_hz = mel.sample_rate_hz

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Return the answers with their texts; the limits of ``decoding`` have no effect."""
        answers = [self.answers[name] for name in prompts.ids]
        device = prompts.waveform.device
        waveform = pad_sequence([answer.waveform for answer in answers], batch_first=True).to(device)
        num_samples = torch.tensor([len(answer.waveform) for answer in answers], device=device)
        if self.copied is not None:
            waveform, num_samples = self.copied(waveform, num_samples)
        mel, num_frames = self.spectrogram(waveform, num_samples)
        return Continuation(
            ids=prompts.ids,
            text=[answer.text for answer in answers],
            transcript=None,
            continuation_text=[answer.text for answer in answers],
            waveform=waveform,
            num_samples=num_samples,
            sample_rate_hz=self.speech_rate_hz,
            mel=mel,
            num_frames=num_frames,
            stopped=torch.ones(len(answers), dtype=torch.bool, device=device),
        )

    def writes_text(self, decoding: Decoding) -> bool:
        """Return False: the texts are given, not written."""
        return False
