"""Answers of a system as samples: generated speech, references and spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.fabric.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from spectron.audio.mel import LogMel, MelConfig, mel_at_rate
from spectron.batch import Continuation, SpeechBatch, unpadded, with_reference
from spectron.contracts import SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.evaluation.sample import SpokenSample
from spectron.evaluation.systems.transcript_split import split_at_prompt

TeacherForcing = Callable[[SpeechBatch], tuple[Tensor, Tensor] | None]


@torch.inference_mode()
def answer(
    system: SpokenLanguageModel,
    batches: list[SpeechBatch],
    decoding: Decoding,
    device: torch.device,
    teacher_forced: TeacherForcing | None = None,
) -> list[SpokenSample]:
    """Generate an answer to every prompt, and return CPU samples without judgements. See ``judge_system``."""
    front_ends = FrontEnds(system, device)
    samples: list[SpokenSample] = []
    for batch in batches:
        if not batch.ids:
            continue
        batch = move_data_to_device(batch, device)
        rows = samples_of(batch, system.continue_speech(batch.prompts, decoding), front_ends)
        recorded = with_reference(batch)
        forced = teacher_forced(recorded) if teacher_forced is not None and recorded.ids else None
        if forced is not None:
            mels = dict(zip(recorded.ids, rows_of(*forced), strict=True))
            for sample in rows:
                sample.teacher_forced_mel = mels.get(sample.id)
        samples += rows
    if system.writes_text(decoding):
        for sample in samples:
            # Texts without a separator between transcript and continuation, as in the paper.
            if sample.transcript is None or sample.continuation_text is None:
                sample.transcript, sample.continuation_text = split_at_prompt(sample.text, sample.prompt_text)
    return samples


class FrontEnds:
    """Spectrograms of prompts, references and generated speech, in the system's settings or in the default ones.

    Args:
        system: The system. If the ``format`` of its speech head, or its own, is a spectrogram, these settings are used,
            and the spectrogram that the system returns is not computed again from its speech.
        device: Device to compute on.
    """

    def __init__(self, system: SpokenLanguageModel, device: torch.device) -> None:
        own = getattr(getattr(system, "head", system), "format", None)
        self.has_own = isinstance(own, MelConfig)
        self.prompt_rate_hz, self.speech_rate_hz = system.prompt_rate_hz, system.speech_rate_hz
        self.settings = own if isinstance(own, MelConfig) else mel_at_rate(MelConfig(), self.speech_rate_hz)
        self.speech = LogMel(self.settings).to(device)
        self.prompt = LogMel(mel_at_rate(self.settings, self.prompt_rate_hz)).to(device)

    def generated(self, continuation: Continuation) -> list[Tensor]:
        """Return the spectrograms (T, M) of generated speech."""
        if self.has_own and continuation.mel is not None and continuation.num_frames is not None:
            return rows_of(continuation.mel, continuation.num_frames)
        return rows_of(*self.speech(continuation.waveform, continuation.num_samples))


def rows_of(padded: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return the rows of a padded tensor (B, L, ...) without their padding, on the CPU in single precision."""
    # A clone: a view of a short row would keep the whole batch in memory.
    return [row.float().cpu().clone() for row in unpadded(padded, lengths)]


def samples_of(batch: SpeechBatch, continuation: Continuation, front_ends: FrontEnds) -> list[SpokenSample]:
    """Return the samples of a batch and the speech that was generated for it."""
    nothing = [None] * len(batch.ids)
    generated = rows_of(continuation.waveform, continuation.num_samples)
    columns = {
        "id": batch.ids,
        "speaker": batch.speakers or [""] * len(batch.ids),
        "prompt": rows_of(batch.prompt, batch.prompt_num_samples),
        "prompt_text": batch.prompt_text,
        "reference": rows_of(batch.continuation, batch.continuation_num_samples),
        "reference_text": batch.continuation_text,
        "answers": batch.answers or [[] for _ in batch.ids],
        "split": batch.splits or [""] * len(batch.ids),
        "generated": [finite_or_empty(*pair) for pair in zip(batch.ids, generated, strict=True)],
        "text": continuation.text,
        "transcript": continuation.transcript or nothing,
        "continuation_text": continuation.continuation_text or nothing,
        "stopped": continuation.stopped.tolist(),
        "text_stopped": nothing if continuation.text_stopped is None else continuation.text_stopped.tolist(),
        "prompt_mel": rows_of(*front_ends.prompt(batch.prompt, batch.prompt_num_samples)),
        "reference_mel": rows_of(*front_ends.speech(batch.continuation, batch.continuation_num_samples)),
        "generated_mel": front_ends.generated(continuation),
    }
    shared: dict[str, Any] = {
        "prompt_rate_hz": front_ends.prompt_rate_hz,
        "speech_rate_hz": continuation.sample_rate_hz,
        "frame_rate_hz": front_ends.settings.frame_rate_hz,
    }
    return [
        SpokenSample(**dict(zip(columns, row, strict=True)), **shared) for row in zip(*columns.values(), strict=True)
    ]


def finite_or_empty(name: str, waveform: Tensor) -> Tensor:
    """Return a waveform, or an empty one with a warning if it contains NaN or infinity."""
    if waveform.isfinite().all():
        return waveform
    rank_zero_warn(f"the speech generated for {name} contains values that are not finite; it counts as no speech")
    return waveform[:0]
