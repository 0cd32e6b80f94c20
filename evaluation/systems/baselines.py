"""What stands beside a system in a table: the recordings themselves, after a vocoder, silent, or another speaker's in their place.

A metric that cannot tell these apart says nothing about the system either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.mel import MelConfig
from spectron.batch import Continuation, Prompts, SpeechBatch, unpadded
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder

Spectrogram = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Recorded:
    """What is given in the place of a system's answer: a waveform (S,), and what it says."""

    waveform: Tensor
    text: str


def recordings_of(batch: SpeechBatch) -> dict[str, Recorded]:
    """What really followed each prompt, by id."""
    waveforms = unpadded(batch.continuation, batch.continuation_num_samples)
    return dict(zip(batch.ids, map(Recorded, waveforms, batch.continuation_text), strict=True))


def silences_of(batch: SpeechBatch) -> dict[str, Recorded]:
    """Silence, as long as what really followed each prompt."""
    return {
        name: replace(spoken, waveform=torch.zeros_like(spoken.waveform), text="")
        for name, spoken in recordings_of(batch).items()
    }


def exchanged(batch: SpeechBatch, other: SpeechBatch) -> dict[str, Recorded]:
    """What followed the prompt of a row of ``other``, by the id of the row that gets it: of another speaker where there is one.

    Rows for which ``other`` holds no other utterance are left out.
    """
    speakers = dict(zip(batch.ids, batch.speakers or [""] * len(batch.ids), strict=True))
    strangers = list(
        zip(other.ids, other.speakers or [""] * len(other.ids), recordings_of(other).values(), strict=True)
    )
    given: dict[str, Recorded] = {}
    for place, (name, speaker) in enumerate(speakers.items()):
        # Begun at the row's own place and one further, so that not all rows get the same one.
        turned = [strangers[(place + 1 + step) % len(strangers)] for step in range(len(strangers))]
        others = [spoken for known, voice, spoken in turned if known != name and voice != speaker]
        others += [spoken for known, _, spoken in turned if known != name]
        if others:
            given[name] = others[0]
    return given


def spectrogram_of(head: SpeechHead) -> Spectrogram:
    """Waveform (B, S) with (B,) valid samples to the spectrogram that a speech head is trained on."""

    def spectrogram(waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        targets = head.targets(waveform, num_samples)
        return targets.mel, targets.num_frames

    return spectrogram


class RecordedAnswers(SpokenLanguageModel):
    """Answers every prompt with what is given for it, taken to a spectrogram and back where there is a vocoder.

    Args:
        recordings: What is answered, by the prompt's id; prompts of other ids cannot be answered.
        spectrogram: Waveform to the spectrogram that is meant; it also gives that of the vocoder's output.
        mel: The spectrogram's settings.
        vocoder: The vocoder; None leaves the recordings as they are.
        prompt_rate_hz: Sample rate of the prompts.
    """

    def __init__(
        self,
        recordings: dict[str, Recorded],
        spectrogram: Spectrogram,
        mel: MelConfig,
        vocoder: Vocoder | None,
        prompt_rate_hz: int,
    ) -> None:
        self.recordings = recordings
        self.spectrogram = spectrogram
        self.mel = mel
        self.vocoder = vocoder
        self.prompt_rate_hz = prompt_rate_hz
        self.speech_rate_hz = mel.sample_rate_hz

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """The given answers with what they say; the limits of ``decoding`` do not apply."""
        given = [self.recordings[name] for name in prompts.ids]
        device = prompts.waveform.device
        waveform = pad_sequence([spoken.waveform for spoken in given], batch_first=True).to(device)
        num_samples = torch.tensor([len(spoken.waveform) for spoken in given], device=device)
        if self.vocoder is not None:
            waveform, num_samples = self.vocoder(*self.spectrogram(waveform, num_samples))
        mel, num_frames = self.spectrogram(waveform, num_samples)
        return Continuation(
            ids=prompts.ids,
            text=[spoken.text for spoken in given],
            transcript=None,
            continuation_text=[spoken.text for spoken in given],
            waveform=waveform,
            num_samples=num_samples,
            sample_rate_hz=self.speech_rate_hz,
            mel=mel,
            num_frames=num_frames,
            stopped=torch.ones(len(given), dtype=torch.bool, device=device),
        )

    def writes_text(self, decoding: Decoding) -> bool:
        """No: it hears nothing, and what it says is known beforehand."""
        return False
