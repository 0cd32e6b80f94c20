"""Word and character errors: of the speech against the system's own text, and of its transcript against the prompt."""

from __future__ import annotations

from abc import abstractmethod

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import RatioMetric
from spectron.evaluation.metrics.names import PROMPT_CER, PROMPT_WER, SPEECH_CER, SPEECH_WER
from spectron.evaluation.metrics.normalizer import normalize
from spectron.evaluation.sample import TRANSCRIPT, SpokenSample


def word_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Count the words to insert, delete or replace (jiwer, after normalisation), and the words of the reference."""
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis.split()), 0
    result = jiwer.process_words(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference.split())


def character_errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """Count the characters to insert, delete or replace (jiwer, after normalisation), and those of the reference.

    Spaces count.
    """
    import jiwer

    reference, hypothesis = normalize(reference), normalize(hypothesis)
    if not reference:
        return len(hypothesis), 0
    result = jiwer.process_characters(reference, hypothesis)
    return result.substitutions + result.deletions + result.insertions, len(reference)


class EditRate(RatioMetric):
    """Edits of a text per unit of its reference; a sample whose reference has no unit is skipped."""

    @abstractmethod
    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Return the units to insert, delete or replace, and the units of the reference."""

    def rate(self, reference: str, hypothesis: str) -> NumeratorAndDenominator:
        """Return edits and units; None if the reference has no unit."""
        edits, units = self.edits(reference, hypothesis)
        return (edits, units) if units else None


class SpeechEditRate(EditRate):
    """Edits of the recogniser's transcript of the generated speech against the continuation that the system wrote."""

    needs = frozenset({TRANSCRIPT})
    skips = "the system wrote no continuation"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return edits and units."""
        return self.rate(sample.continuation_text or "", self.evidence(sample, TRANSCRIPT) or "")


class PromptEditRate(EditRate):
    """Edits of the system's transcript of the prompt against the words of the prompt."""

    by_split = True
    skips = "the system writes no text, or no word is said in the prompt"

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return edits and units."""
        return None if sample.transcript is None else self.rate(sample.prompt_text, sample.transcript)


class SpeechWordErrorRate(SpeechEditRate):
    """Word errors of the recogniser's transcript of the generated speech against the system's own text.

    They show how clearly the system says its text, and include the recogniser's own errors. A sample is skipped if the
    system wrote no continuation.
    """

    label = SPEECH_WER
    weight = "words"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Count words."""
        return word_errors(reference, hypothesis)


class PromptWordErrorRate(PromptEditRate):
    """Word errors of the system's transcript of the prompt: how well the system recognises speech.

    If a system writes no separator after its transcript, the cut that fits the prompt best is used, which slightly
    favours the system (``systems/transcript_split.py``).
    """

    label = PROMPT_WER
    weight = "words"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Count words."""
        return word_errors(reference, hypothesis)


class SpeechCharacterErrorRate(SpeechEditRate):
    """Character errors of the recogniser's transcript of the generated speech against the system's own text.

    The rate is below the word error rate if the speech is nearly right: names, endings, another spelling.
    """

    label = SPEECH_CER
    weight = "characters"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Count characters."""
        return character_errors(reference, hypothesis)


class PromptCharacterErrorRate(PromptEditRate):
    """Character errors of the system's transcript of the prompt."""

    label = PROMPT_CER
    weight = "characters"

    def edits(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Count characters."""
        return character_errors(reference, hypothesis)
