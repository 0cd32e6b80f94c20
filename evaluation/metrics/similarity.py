"""Whether the continuation is spoken by the voice of the prompt."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from evaluation.metrics.contracts import RatioMetric
from evaluation.metrics.intervals import Parts
from evaluation.metrics.names import SECOND_SPEAKER_SIMILARITY, SPEAKER_SIMILARITY
from evaluation.sample import SpokenSample

NO_VOICE = "no voice in the prompt or in the speech"


def voice_similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two speaker embeddings (E,)."""
    return float(cosine_similarity(first.double(), second.double(), dim=0))


def similarity_parts(prompt: Tensor | None, generated: Tensor | None) -> Parts:
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

    def parts(self, sample: SpokenSample) -> Parts:
        """Cosine and 1."""
        return similarity_parts(sample.prompt_embedding, sample.generated_embedding)


class SecondSpeakerSimilarity(RatioMetric):
    """The same in the eyes of a second embedder: a gain that only one of the two sees may be that one's own taste."""

    label = SECOND_SPEAKER_SIMILARITY
    needs = frozenset({"second_speaker_embedder"})
    skips = NO_VOICE
    judges_speech = True

    def parts(self, sample: SpokenSample) -> Parts:
        """Cosine and 1."""
        return similarity_parts(sample.second_prompt_embedding, sample.second_generated_embedding)
