"""Text topline: the language model of a system answers written questions in text, without speech."""

from __future__ import annotations

import torch

from spectron.batch import Continuation, Prompts
from spectron.contracts import LanguageModel, SpokenLanguageModel
from spectron.decoding import Decoding
from spectron.generation import DecodingState, decode_text, split_texts, text_sequence
from spectron.model import SpectronModel


class TextTopline(SpokenLanguageModel):
    """Language model of a Spectron that continues a question given as text; the generated text is the answer.

    With the true questions it is the topline ``written_question``, which corresponds to perfect recognition. With the
    transcripts of a recogniser it is the topline ``cascade``.

    Args:
        system: The system whose language model answers.
        questions: Texts of the questions by the id of the prompt.
    """

    def __init__(self, system: SpectronModel, questions: dict[str, str]) -> None:
        self.language_model: LanguageModel = system.language_model
        separators = (getattr(segment, "separator", None) for segment in system.segments.values())
        self.separator: str = next((found for found in separators if isinstance(found, str)), " ")
        self.format = system.head.format
        self.prompt_rate_hz, self.speech_rate_hz = system.prompt_rate_hz, system.speech_rate_hz
        self.questions = questions

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Return the texts; the speech has no samples."""
        lm, rows, device = self.language_model, len(prompts.ids), prompts.waveform.device
        asked = [self.questions[name] for name in prompts.ids]
        # The space after the separator belongs to the first token of the answer.
        inputs, _, valid = text_sequence(lm, [question + self.separator.rstrip() for question in asked])
        last = valid.sum(1) - 1
        every = torch.arange(rows, device=device)
        before = valid.clone()
        before[every, last] = False  # decode_text reads the last token
        state = DecodingState(lm, rows, device)
        state.extend(lm.embed(inputs), before)
        tokens, stopped = decode_text(state, decoding, prompts.ids, first=inputs[every, last])
        answers = [answer.strip() for answer in lm.detokenize(tokens)]
        texts = [f"{question}{self.separator}{answer}" for question, answer in zip(asked, answers, strict=True)]
        halves = split_texts(texts, self.separator) if self.separator.strip() else (asked, answers)
        none = torch.zeros(rows, dtype=torch.long, device=device)
        return Continuation(
            ids=prompts.ids,
            text=texts,
            transcript=halves[0],
            continuation_text=halves[1],
            waveform=torch.zeros(rows, 0, device=device),
            num_samples=none,
            sample_rate_hz=self.speech_rate_hz,
            stopped=torch.ones(rows, dtype=torch.bool, device=device),
            text_stopped=stopped,
        )
