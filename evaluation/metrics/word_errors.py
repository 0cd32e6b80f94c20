"""Word errors: of the speech against the system's own text, and of its transcript against what was said."""

from __future__ import annotations

from evaluation.metrics.edits import PromptEditRate, SpeechEditRate
from evaluation.metrics.names import PROMPT_WER, SPEECH_WER
from evaluation.metrics.normalizer import normalize


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Words to insert, delete or replace (jiwer, after normalisation), and words of the reference."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis.split()), 0
    result = jiwer.process_words(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference.split())


class SpeechWordErrorRate(SpeechEditRate):
    """Errors of the judge's transcript of the generated speech against the continuation that the system wrote.

    It tells how clearly the system says what it means to say, with the judge's own errors on top. A sample is skipped where the
    system wrote no continuation.
    """

    label = SPEECH_WER
    weight = "words"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """By words."""
        return word_errors(reference, hypothesis)


class PromptWordErrorRate(PromptEditRate):
    """Errors of the system's transcript of the prompt: how well it hears.

    Where a system puts no mark behind its transcript, the cut that fits the prompt best is taken (``halves.py``), which favours it a
    little.
    """

    label = PROMPT_WER
    weight = "words"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """By words."""
        return word_errors(reference, hypothesis)
