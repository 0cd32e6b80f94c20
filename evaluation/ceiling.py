"""The vocoder's ceiling: what the measures say of the true spectrograms once the vocoder has made speech of them."""

from __future__ import annotations

import torch
from torch import Tensor

from spectron.batch import Continuation, Prompts, SpeechBatch
from spectron.contracts import Decoding, SpeechHead, SpokenLanguageModel, Vocoder


class VocodedReference(SpokenLanguageModel):
    """Answers every prompt with the recording of what followed, taken to a spectrogram and back by the vocoder.

    Args:
        head: Speech head whose spectrograms are meant; it also gives the spectrogram of the vocoder's output.
        vocoder: The vocoder.
        batches: Where the recordings are; prompts of other ids cannot be answered.
        prompt_rate_hz: Sample rate of the prompts.
    """

    def __init__(self, head: SpeechHead, vocoder: Vocoder, batches: list[SpeechBatch], prompt_rate_hz: int) -> None:
        self.head = head
        self.vocoder = vocoder
        self.prompt_rate_hz = prompt_rate_hz
        self.speech_rate_hz = head.mel.sample_rate_hz
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
        recorded = torch.nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True).to(device)
        true = self.head.targets(recorded, torch.tensor([len(row) for row in waveforms], device=device))
        waveform, num_samples = self.vocoder(true.mel, true.num_frames)
        spoken = self.head.targets(waveform, num_samples)
        return Continuation(
            ids=prompts.ids,
            text=[" ".join(pair) for pair in zip(transcripts, texts, strict=True)],
            transcript=list(transcripts),
            continuation_text=list(texts),
            waveform=waveform,
            num_samples=num_samples,
            sample_rate_hz=self.speech_rate_hz,
            mel=spoken.mel,
            num_frames=spoken.num_frames,
            stopped=torch.ones(len(prompts.ids), dtype=torch.bool, device=device),
        )
