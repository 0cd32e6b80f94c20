"""Training of a language model on lines of text."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from spectron.batch import LossTerm
from spectron.context_length import StatesLines, require_lines_fit_context
from spectron.contracts import LanguageModel
from spectron.decoding import Decoding
from spectron.segments.text import text_alone
from spectron.training.base import OPTIMISATION, TrainingModule
from spectron.training.optimisation import Optimisation


class TextModule(TrainingModule):
    """Task that trains a language model on lines of text.

    Args:
        language_model: Model to train.
        optimisation: Adam, its schedule, what is frozen.
    """

    model: nn.ModuleDict

    def __init__(self, language_model: LanguageModel, optimisation: Optimisation = OPTIMISATION) -> None:
        super().__init__()
        self.set_up(nn.ModuleDict({"language_model": language_model}), optimisation)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        return {"val/loss", "val/text"}

    def loss_terms(self, batch: list[str]) -> dict[str, LossTerm]:
        """Compute the cross-entropy in nats per token, the end token included."""
        return {"text": text_alone(cast(LanguageModel, self.model["language_model"]), batch)}

    def require_fits_context(self, data: Any, decodings: list[Decoding]) -> None:
        """See ``ChecksContext``."""
        if isinstance(data, StatesLines):
            require_lines_fit_context(cast(LanguageModel, self.model["language_model"]), data.lines())

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Return the cross-entropy."""
        return means["text"]

    def shapes(self, batch: list[str]) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order."""
        lm: Any = self.model["language_model"]
        ids, _ = lm.tokenize(batch)
        return {"ids (B, N)": tuple(ids.shape), "embeddings (B, N, D)": tuple(lm.embed(ids).shape)}
