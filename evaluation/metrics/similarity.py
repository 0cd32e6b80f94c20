"""Whether the continuation is spoken by the voice of the prompt."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from evaluation.metrics.contracts import RatioMetric
from evaluation.metrics.names import SPEAKER_SIMILARITY
from evaluation.sample import SpokenSample


def voice_similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two speaker embeddings (E,)."""
    return float(cosine_similarity(first.double(), second.double(), dim=0))


class SpeakerSimilarity(RatioMetric):
    """Mean cosine of the speaker embeddings of prompt and generated speech; without a voice in both, a sample is skipped."""

    label = SPEAKER_SIMILARITY
    needs = frozenset({"speaker_embedder"})
    judges_speech = True

    def parts(self, sample: SpokenSample) -> tuple[float, float] | None:
        """Cosine and 1."""
        prompt, generated = sample.prompt_embedding, sample.generated_embedding
        if prompt is None or generated is None or prompt.isnan().any() or generated.isnan().any():
            return None
        return voice_similarity(prompt, generated), 1
