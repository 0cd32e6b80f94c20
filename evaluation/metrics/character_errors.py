"""Character errors: the same comparisons as by words, where one wrong letter does not cost a whole word."""

from __future__ import annotations

from evaluation.metrics.edits import PromptEditRate, SpeechEditRate
from evaluation.metrics.names import PROMPT_CER, SPEECH_CER
from evaluation.metrics.normalizer import normalize


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Characters to insert, delete or replace (jiwer, after normalisation), and characters of the reference; spaces count."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis), 0
    result = jiwer.process_characters(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference)


class SpeechCharacterErrorRate(SpeechEditRate):
    """Errors of the judge's transcript of the generated speech against the continuation that the system wrote.

    Below the word error rate where the speech is nearly right: names, endings, words that the judge spells otherwise.
    """

    label = SPEECH_CER
    weight = "characters"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """By characters."""
        return character_errors(reference, hypothesis)


class PromptCharacterErrorRate(PromptEditRate):
    """Errors of the system's transcript of the prompt."""

    label = PROMPT_CER
    weight = "characters"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """By characters."""
        return character_errors(reference, hypothesis)
