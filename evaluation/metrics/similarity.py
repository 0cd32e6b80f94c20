"""Similarity of the voice of the generated speech and the voice of the prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import CorpusMetric, RatioMetric
from spectron.evaluation.metrics.names import SPEAKER_SIMILARITY, SPEAKER_SIMILARITY_MARGIN
from spectron.evaluation.sample import VOICE, SpokenSample, Voices


def voice_similarity(first: Tensor, second: Tensor) -> float:
    """Compute the cosine of two speaker embeddings (E,)."""
    return float(cosine_similarity(first.double(), second.double(), dim=0))


def both_voices(voices: Voices | None) -> tuple[Tensor, Tensor] | None:
    """Return the embeddings (E,) of prompt and speech; None if one of the two contains no voice."""
    if voices is None or voices.prompt is None or voices.generated is None:
        return None
    if voices.prompt.isnan().any() or voices.generated.isnan().any():
        return None
    return voices.prompt, voices.generated


class SpeakerSimilarity(RatioMetric):
    """Mean cosine of the speaker embeddings of prompt and generated speech; both must contain a voice.

    Compute it with a second speaker embedder as well (``judge``): an improvement that only one embedder confirms may be
    an artefact of that embedder.
    """

    label = SPEAKER_SIMILARITY
    needs = frozenset({VOICE})
    skips = "no voice in the prompt or in the speech"
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Return cosine and 1."""
        voices = both_voices(self.evidence(sample, VOICE))
        return None if voices is None else (voice_similarity(*voices), 1)


class SpeakerSimilarityMargin(CorpusMetric):
    """Similarity with the own prompt's voice minus the mean similarity with the prompts of other speakers in the set.

    One voice for every prompt has a margin of 0, however close that voice may be to all of them.
    """

    label = SPEAKER_SIMILARITY_MARGIN
    needs = frozenset({VOICE})
    skips = "no voice in the prompt or in the speech, or no other speaker by name"
    judges_speech = True

    def trait_of(self, sample: SpokenSample) -> tuple[str, list[float], list[float]] | None:
        """Return the speaker and the embeddings of prompt and speech."""
        voices = both_voices(self.evidence(sample, VOICE))
        if not sample.speaker or voices is None:
            return None
        prompt, generated = voices
        return sample.speaker, prompt.tolist(), generated.tolist()

    def numerators_and_denominators(
        self, traits: list[tuple[str, list[float], list[float]] | None]
    ) -> list[NumeratorAndDenominator]:
        """Return the margin of each sample, and 1."""
        used = [trait for trait in traits if trait is not None]
        if not used:
            return [None] * len(traits)
        speakers = [speaker for speaker, _, _ in used]
        others = torch.tensor([[speaker != other for other in speakers] for speaker in speakers])
        prompts, speech = (
            normalize(torch.tensor(column, dtype=torch.double), dim=1) for column in list(zip(*used, strict=True))[1:]
        )
        cosines = speech @ prompts.T  # (N, N): of each speech with each prompt
        margins = iter(cosines.diagonal() - (cosines * others).sum(1) / others.sum(1))
        found = [None if trait is None else float(next(margins)) for trait in traits]
        return [None if margin is None or math.isnan(margin) else (margin, 1) for margin in found]
