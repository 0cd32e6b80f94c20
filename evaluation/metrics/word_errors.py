"""Word errors: of the speech against the system's own text, and of its transcript against what was said."""

from __future__ import annotations

from abc import abstractmethod

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PROMPT_CER, PROMPT_WER, SPEECH_CER, SPEECH_WER
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import SpokenSample


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Words to insert, delete or replace (jiwer, after normalisation), and words of the reference."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis.split()), 0
    result = jiwer.process_words(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference.split())


class EditRate(RatioMetric):
    """Edits of a text against another, for each unit of the latter; without a unit to count against a sample is skipped."""

    @abstractmethod
    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Units to insert, delete or replace, and units of the reference."""

    def parts_of(self, reference: str, hypothesis: str) -> NumeratorAndDenominator:
        """Edits and units; None where the reference has none."""
        edits, units = self.edits(reference, hypothesis)
        return (edits, units) if units else None


class SpeechEditRate(EditRate):
    """Edits of the judge's transcript of the generated speech against the continuation that the system wrote."""

    needs = frozenset({"transcriber"})
    skips = "the system wrote no continuation"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Edits and units."""
        return self.parts_of(sample.continuation_text or "", sample.heard or "")


class PromptEditRate(EditRate):
    """Edits of the system's transcript of the prompt against what was said."""

    by_split = True
    skips = "the system writes no text, or no word is said in the prompt"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Edits and units."""
        return None if sample.transcript is None else self.parts_of(sample.prompt_text, sample.transcript)


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
