"""Whether the continuation is spoken by the voice of the prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.metric import CorpusMetric, RatioMetric
from spectron.evaluation.metrics.names import SECOND_SPEAKER_SIMILARITY, SPEAKER_SIMILARITY, SPEAKER_SIMILARITY_MARGIN
from spectron.evaluation.sample import SpokenSample

NO_VOICE = "no voice in the prompt or in the speech"


def voice_similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two speaker embeddings (E,)."""
    return float(cosine_similarity(first.double(), second.double(), dim=0))


def similarity_parts(prompt: Tensor | None, generated: Tensor | None) -> NumeratorAndDenominator:
    """Cosine and 1, None where one of the two holds no voice."""
    if prompt is None or generated is None or prompt.isnan().any() or generated.isnan().any():
        return None
    return voice_similarity(prompt, generated), 1


class SpeakerSimilarity(RatioMetric):
    """Mean cosine of the speaker embeddings of prompt and generated speech; without a voice in both, a sample is skipped."""

    label = SPEAKER_SIMILARITY
    needs = frozenset({"speaker_embedder"})
    skips = NO_VOICE
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Cosine and 1."""
        return similarity_parts(sample.prompt_embedding, sample.generated_embedding)


class SecondSpeakerSimilarity(RatioMetric):
    """The same in the eyes of a second embedder: a gain that only one of the two sees may be that one's own taste."""

    label = SECOND_SPEAKER_SIMILARITY
    needs = frozenset({"second_speaker_embedder"})
    skips = NO_VOICE
    judges_speech = True

    def numerator_and_denominator(self, sample: SpokenSample) -> NumeratorAndDenominator:
        """Cosine and 1."""
        return similarity_parts(sample.second_prompt_embedding, sample.second_generated_embedding)


class SpeakerSimilarityMargin(CorpusMetric):
    """By how much speech is nearer to the voice of its own prompt than to those of other speakers' prompts, of the same set.

    One voice for every prompt has a margin of 0, however near that voice may be to all of them.
    """

    label = SPEAKER_SIMILARITY_MARGIN
    needs = frozenset({"speaker_embedder"})
    skips = "no voice in the prompt or in the speech, or no other speaker by name"
    judges_speech = True

    def trait_of(self, sample: SpokenSample) -> tuple[str, list[float], list[float]] | None:
        """Speaker, voice of the prompt, voice of the speech."""
        prompt, generated = sample.prompt_embedding, sample.generated_embedding
        if not sample.speaker or prompt is None or generated is None or similarity_parts(prompt, generated) is None:
            return None
        return sample.speaker, prompt.tolist(), generated.tolist()

    def numerators_and_denominators(
        self, traits: list[tuple[str, list[float], list[float]] | None]
    ) -> list[NumeratorAndDenominator]:
        """Each sample's cosine with its own prompt less the mean of those with other speakers' prompts, and 1."""
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
