"""One item of an evaluation: prompt, answer of the system, reference, and the evidence of the judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

# Kinds of evidence that the platform's judges give.
TRANSCRIPT = "transcript"  # str: words of the generated speech
TEXT_SCORE = "text_score"  # TextScore
VOICE = "voice"  # Voices
QUALITY = "quality"  # float: mean opinion score of the generated speech, 1 (bad) to 5 (excellent)


class TextScore(NamedTuple):
    """Likelihood of a transcript of the generated speech.

    Args:
        nll_nats: Negative log-likelihood in nats, summed over the tokens.
        num_tokens: Number of tokens.
    """

    nll_nats: float
    num_tokens: int


@dataclass
class Voices:
    """Speaker embeddings of a sample: NaN if the audio contains no voice, None if it is too short to embed.

    Args:
        prompt: Embedding (E,) of the prompt.
        generated: Embedding (E,) of the generated speech.
    """

    prompt: Tensor | None = None
    generated: Tensor | None = None


@dataclass
class SpokenSample:
    """A prompt with a system's answer; all tensors are on the CPU.

    Args:
        id: Id of the utterance.
        speaker: Speaker of the prompt; empty if the data does not name one.
        prompt: Prompt waveform (S,) at ``prompt_rate_hz``.
        prompt_rate_hz: Sample rate of the prompt.
        prompt_text: Words of the prompt.
        reference: Recording (S',) of what really followed, at ``speech_rate_hz``; without samples if there is none.
        reference_text: Words of the reference.
        answers: Accepted answers of a spoken question; empty for plain continuation.
        split: Split of the data; empty if the data does not name one.
        generated: The system's speech (S'',) at ``speech_rate_hz``.
        speech_rate_hz: Sample rate of the reference and of the generated speech.
        text: All text that the system wrote.
        transcript: The system's own transcript of the prompt; None for a system that writes no text.
        continuation_text: The rest of the system's text; None for a system that writes no text.
        stopped: Whether the stop probability ended the speech, and not the maximum length.
        prompt_mel: Log-mel (T, M) of the prompt, for pictures.
        reference_mel: Log-mel (T', M) of the reference.
        generated_mel: Log-mel (T'', M) of the generated speech.
        frame_rate_hz: Frame rate of the three log-mels.
        teacher_forced_mel: Log-mel (T', M) predicted from the true past; None if the system has no teacher forcing.
        text_stopped: Whether the system ended its text itself, and not the maximum number of tokens; None for a system
            that writes no text.
        evidence: Evidence of the judges: by name of the judge, then by kind. Read it with ``evidence_of``.
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
    text_stopped: bool | None = None
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def evidence_of(self, kind: str, judge: str | None = None) -> Any:
        """Return the evidence of a kind by ``judge`` if that judge gives it, else by the first judge that does.

        None if no judge gives evidence of this kind, or if the judge found nothing in this sample.
        """
        named = self.evidence.get(judge, {}) if judge is not None else {}
        return next((found[kind] for found in (named, *self.evidence.values()) if kind in found), None)

    @property
    def generated_seconds(self) -> float:
        """Return the length of the generated speech."""
        return len(self.generated) / self.speech_rate_hz

    @property
    def reference_seconds(self) -> float:
        """Return the length of the reference; 0 if there is none."""
        return len(self.reference) / self.speech_rate_hz
