"""What a system's language model knows by itself: written questions answered in writing, without hearing or speaking."""

from __future__ import annotations

import torch

from spectron.batch import Continuation, Prompts
from spectron.contracts import Decoding, LanguageModel, SpokenLanguageModel
from spectron.generation import DecodingState, decode_text, split_texts
from spectron.model import SpectronModel


class WrittenAnswers(SpokenLanguageModel):
    """Gives a question to a Spectron's language model as text, behind no speech at all, and takes the text that follows for the answer.

    With the true questions it is the topline of perfect hearing; with a recogniser's transcripts it is a cascade.

    Args:
        system: The system whose language model answers.
        questions: What is asked, by the prompt's id.
    """

    def __init__(self, system: SpectronModel, questions: dict[str, str]) -> None:
        self.language_model: LanguageModel = system.language_model
        self.mark = system.text_separator
        self.mel = system.head.mel
        self.prompt_rate_hz, self.speech_rate_hz = system.prompt_rate_hz, system.speech_rate_hz
        self.questions = questions

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Texts alone: the speech has no sample."""
        lm, rows, device = self.language_model, len(prompts.ids), prompts.waveform.device
        asked = [self.questions[name] for name in prompts.ids]
        # Without the space after the mark: it belongs to the first token of the answer.
        inputs, _, valid = lm.text_sequence([question + self.mark.rstrip() for question in asked])
        last = valid.sum(1) - 1
        every = torch.arange(rows, device=device)
        before = valid.clone()
        before[every, last] = False  # read by the decoding, which begins with it
        state = DecodingState(lm, rows, device)
        state.extend(lm.embed(inputs), before)
        answers = lm.detokenize(decode_text(state, decoding, prompts.ids, first=inputs[every, last]))
        whole = [f"{question}{self.mark}{answer.strip()}" for question, answer in zip(asked, answers, strict=True)]
        halves = split_texts(whole, self.mark) if self.mark.strip() else (asked, [answer.strip() for answer in answers])
        none = torch.zeros(rows, dtype=torch.long, device=device)
        return Continuation(
            ids=prompts.ids,
            text=whole,
            transcript=halves[0],
            continuation_text=halves[1],
            waveform=torch.zeros(rows, 0, device=device),
            num_samples=none,
            sample_rate_hz=self.speech_rate_hz,
            mel=torch.zeros(rows, 0, self.mel.n_mels, device=device),
            num_frames=none,
            stopped=torch.ones(rows, dtype=torch.bool, device=device),
        )
