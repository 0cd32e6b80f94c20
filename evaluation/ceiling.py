"""Recordings taken to a spectrogram and back: what a vocoder alone makes of the truth, and what judges make of the truth itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spectron.audio.mel import MelConfig
from spectron.batch import Continuation, Prompts, SpeechBatch
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder

Spectrogram = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def spectrogram_of(head: SpeechHead) -> Spectrogram:
    """Waveform (B, S) with (B,) valid samples to the spectrogram that a speech head is trained on."""

    def spectrogram(waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        targets = head.targets(waveform, num_samples)
        return targets.mel, targets.num_frames

    return spectrogram


class VocodedReference(SpokenLanguageModel):
    """Answers every prompt with the recording of what followed, taken to a spectrogram and back by the vocoder.

    Args:
        spectrogram: Waveform to the spectrogram that is meant; it also gives that of the vocoder's output.
        mel: The spectrogram's settings.
        vocoder: The vocoder; None leaves the recordings as they are.
        batches: Where the recordings are; prompts of other ids cannot be answered.
        prompt_rate_hz: Sample rate of the prompts.
    """

    def __init__(
        self, spectrogram: Spectrogram, mel: MelConfig, vocoder: Vocoder | None, batches: list[SpeechBatch], prompt_rate_hz: int
    ) -> None:
        self.spectrogram = spectrogram
        self.mel = mel
        self.vocoder = vocoder
        self.prompt_rate_hz = prompt_rate_hz
        self.speech_rate_hz = mel.sample_rate_hz
        self.recordings: dict[str, tuple[Tensor, str, str]] = {}
        for batch in batches:
            lengths = batch.continuation_num_samples.tolist()
            waveforms = [row[:length] for row, length in zip(batch.continuation, lengths, strict=True)]
            texts = zip(batch.prompt_text, batch.continuation_text, strict=True)
            self.recordings |= {name: (waveform, *pair) for name, waveform, pair in zip(batch.ids, waveforms, texts, strict=True)}

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Vocoded recordings with their true texts; the limits of ``decoding`` do not apply."""
        waveforms, transcripts, texts = zip(*(self.recordings[name] for name in prompts.ids), strict=True)
        device = prompts.waveform.device
        waveform = torch.nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True).to(device)
        num_samples = torch.tensor([len(row) for row in waveforms], device=device)
        if self.vocoder is not None:
            waveform, num_samples = self.vocoder(*self.spectrogram(waveform, num_samples))
        mel, num_frames = self.spectrogram(waveform, num_samples)
        return Continuation(
            ids=prompts.ids,
            text=[" ".join(pair).strip() for pair in zip(transcripts, texts, strict=True)],
            transcript=list(transcripts),
            continuation_text=list(texts),
            waveform=waveform,
            num_samples=num_samples,
            sample_rate_hz=self.speech_rate_hz,
            mel=mel,
            num_frames=num_frames,
            stopped=torch.ones(len(prompts.ids), dtype=torch.bool, device=device),
        )
