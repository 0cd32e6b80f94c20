"""Cross-entropy over the whole text: transcript and continuation in one (paper: L_ASR and L_LM collapse into it)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from spectron.batch import LossTerm


def text_cross_entropy(logits: Tensor, targets: Tensor, valid: Tensor) -> LossTerm:
    """Negative log-likelihood in nats, summed over valid tokens, with their count.

    Args:
        logits: (B, N, V).
        targets: (B, N) token ids.
        valid: (B, N), False at padding.
    """
    return LossTerm(token_cross_entropy(logits, targets, valid).sum(), valid.sum())


def token_cross_entropy(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Negative log-likelihood of each token in nats, (B, N), 0 at padding; for the arguments see above."""
    losses = functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
    return losses.masked_fill(~valid, 0.0)
