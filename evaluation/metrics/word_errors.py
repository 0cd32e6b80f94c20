"""Word errors: of the speech against the system's own text, and of its transcript against what was said."""

from __future__ import annotations

from evaluation.metrics.contracts import RatioMetric
from evaluation.metrics.intervals import Parts
from evaluation.metrics.names import PROMPT_WER, SPEECH_WER
from evaluation.metrics.normalizer import normalize
from evaluation.sample import SpokenSample


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Words to insert, delete or replace (jiwer, after normalisation), and words of the reference."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis.split()), 0
    result = jiwer.process_words(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference.split())


def errors_if_any_word(reference: str, hypothesis: str) -> tuple[int, int] | None:
    """``word_errors``, or None where the reference has no word to count against."""
    errors, words = word_errors(reference, hypothesis)
    return (errors, words) if words else None


class SpeechWordErrorRate(RatioMetric):
    """Errors of the judge's transcript of the generated speech against the continuation that the system wrote.

    It tells how clearly the system says what it means to say, with the judge's own errors on top. A sample is skipped where the
    system wrote no continuation.
    """

    label = SPEECH_WER
    weight = "words"
    needs = frozenset({"transcriber"})
    skips = "the system wrote no continuation"
    judges_speech = True

    def parts(self, sample: SpokenSample) -> Parts:
        """Errors and words."""
        return errors_if_any_word(sample.continuation_text or "", sample.heard or "")


class PromptWordErrorRate(RatioMetric):
    """Errors of the system's transcript of the prompt: how well it hears.

    Where a system puts no mark behind its transcript, the cut that fits the prompt best is taken (``halves.py``), which favours it a
    little.
    """

    label = PROMPT_WER
    by_split = True
    weight = "words"
    skips = "the system writes no text, or no word is said in the prompt"

    def parts(self, sample: SpokenSample) -> Parts:
        """Errors and words."""
        return None if sample.transcript is None else errors_if_any_word(sample.prompt_text, sample.transcript)
