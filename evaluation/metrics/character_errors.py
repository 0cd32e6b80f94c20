"""Character errors: the same comparisons as by words, where one wrong letter does not cost a whole word."""

from __future__ import annotations

from evaluation.metrics.contracts import RatioMetric
from evaluation.metrics.intervals import Parts
from evaluation.metrics.names import PROMPT_CER, SPEECH_CER
from evaluation.metrics.normalizer import normalize
from evaluation.sample import SpokenSample


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Characters to insert, delete or replace (jiwer, after normalisation), and characters of the reference; spaces count."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis), 0
    result = jiwer.process_characters(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference)


def errors_if_any_character(reference: str, hypothesis: str) -> tuple[int, int] | None:
    """``character_errors``, or None where the reference has no character to count against."""
    errors, characters = character_errors(reference, hypothesis)
    return (errors, characters) if characters else None


class SpeechCharacterErrorRate(RatioMetric):
    """Errors of the judge's transcript of the generated speech against the continuation that the system wrote.

    Below the word error rate where the speech is nearly right: names, endings, words that the judge spells otherwise.
    """

    label = SPEECH_CER
    weight = "characters"
    needs = frozenset({"transcriber"})
    skips = "the system wrote no continuation"
    judges_speech = True

    def parts(self, sample: SpokenSample) -> Parts:
        """Errors and characters."""
        return errors_if_any_character(sample.continuation_text or "", sample.heard or "")


class PromptCharacterErrorRate(RatioMetric):
    """Errors of the system's transcript of the prompt."""

    label = PROMPT_CER
    by_split = True
    weight = "characters"
    skips = "the system writes no text, or no word is said in the prompt"

    def parts(self, sample: SpokenSample) -> Parts:
        """Errors and characters."""
        return None if sample.transcript is None else errors_if_any_character(sample.prompt_text, sample.transcript)
