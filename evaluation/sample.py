"""One judged item: what was asked, what the system answered, what the recording says, and what the judges made of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class SpokenSample:
    """A prompt with a system's answer to it; everything lies on the CPU.

    Args:
        id: Id of the utterance.
        speaker: Speaker of the prompt, empty where the data names none.
        prompt: Prompt waveform (S,) at ``prompt_rate_hz``.
        prompt_rate_hz: Sample rate of the prompt.
        prompt_text: What is said in the prompt.
        reference: What really followed, (S',) at ``speech_rate_hz``; no sample where the data has no recording of it.
        reference_text: Its words.
        answers: Accepted answers of a spoken question, empty for plain continuation.
        split: Part of the data that it is from, empty where the data names none.
        generated: The system's speech (S'',) at ``speech_rate_hz``.
        speech_rate_hz: Sample rate of the reference and of the generated speech.
        text: All that the system wrote.
        transcript: The part of it that stands for the prompt, None for a system that writes no text.
        continuation_text: The rest of it, None likewise.
        stopped: Whether the speech ended by itself.
        prompt_mel: Log-mel (T, M) of the prompt, for pictures.
        reference_mel: Log-mel (T', M) of the reference.
        generated_mel: Log-mel (T'', M) of the generated speech.
        frame_rate_hz: Frames a second of the three.
        teacher_forced_mel: Log-mel (T', M) predicted from the true past, None where the system has no such thing.
        heard: The judge's transcript of the generated speech.
        nll_nats: Negative log-likelihood of ``heard``, summed over its tokens.
        num_tokens: Tokens that ``nll_nats`` sums over.
        prompt_embedding: Speaker embedding (E,) of the prompt; NaN where it holds no voice.
        generated_embedding: Speaker embedding (E,) of the generated speech; NaN where it holds no voice.
        second_prompt_embedding: The second embedder's (E',) of the prompt, likewise.
        second_generated_embedding: The second embedder's (E',) of the generated speech, likewise.
        predicted_mos: Predicted mean opinion score of the generated speech, 1 to 5; None where there is nothing to hear.
    """

    id: str
    speaker: str
    prompt: Tensor
    prompt_rate_hz: int
    prompt_text: str
    reference: Tensor
    reference_text: str
    answers: list[str]
    split: str
    generated: Tensor
    speech_rate_hz: int
    text: str
    transcript: str | None
    continuation_text: str | None
    stopped: bool
    prompt_mel: Tensor = field(repr=False)
    reference_mel: Tensor = field(repr=False)
    generated_mel: Tensor = field(repr=False)
    frame_rate_hz: float
    teacher_forced_mel: Tensor | None = field(default=None, repr=False)
    heard: str | None = None
    nll_nats: float | None = None
    num_tokens: int | None = None
    prompt_embedding: Tensor | None = field(default=None, repr=False)
    generated_embedding: Tensor | None = field(default=None, repr=False)
    second_prompt_embedding: Tensor | None = field(default=None, repr=False)
    second_generated_embedding: Tensor | None = field(default=None, repr=False)
    predicted_mos: float | None = None

    @property
    def generated_seconds(self) -> float:
        """Length of the generated speech."""
        return len(self.generated) / self.speech_rate_hz

    @property
    def reference_seconds(self) -> float:
        """Length of the reference; 0 where there is none."""
        return len(self.reference) / self.speech_rate_hz
