"""Training of Spectron: losses of text and speech, and their weights."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch
from spectron.context_length import StatesLengths, StatesLines, require_fits_context, require_lines_fit_context
from spectron.decoding import Decoding
from spectron.errors import ConfigError, DataError
from spectron.losses import ALIGNMENT_LOSSES
from spectron.model import SpectronModel
from spectron.ranges import NonNegative, checks_ranges
from spectron.segments.text import text_alone
from spectron.training.base import OPTIMISATION, TrainingModule
from spectron.training.optimisation import Optimisation


@checks_ranges
@dataclass
class LossWeights:
    """Weights of the total loss; the defaults are the paper's (L_CE + 0.1 L_recon).

    Args:
        text: Of the cross-entropy of the text.
        speech: Of the loss of the speech frames.
        text_only: Of batches of text without speech, if the data have any.
        alignment: Of the prediction of the spoken word at each frame; 0 skips it. Needs word times; not in the paper.
        spelling: Of the prediction of the spoken letter at each frame; as ``alignment``.
        others: Of the losses of your own segments, by name; 1 for a loss that is not listed.
    """

    text: NonNegative = 1.0
    speech: NonNegative = 0.1
    text_only: NonNegative = 1.0
    alignment: NonNegative = 0.0
    spelling: NonNegative = 0.0
    others: dict[str, NonNegative] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """Return the weight of a loss."""
        return float(getattr(self, name)) if name in KNOWN_LOSSES else self.others.get(name, 1.0)


KNOWN_LOSSES = {known.name for known in fields(LossWeights)} - {"others"}
WEIGHTS = LossWeights()


class SpectronModule(TrainingModule):
    """Task that trains a ``SpectronModel`` on pairs of prompt and continuation.

    Args:
        loss_weights: Weights of the losses in the total.
        optimisation: Adam, its schedule, what is frozen.
        **model: Arguments of ``SpectronModel``, which are keys of the configuration like the others.
    """

    model: SpectronModel

    def __init__(
        self, loss_weights: LossWeights = WEIGHTS, optimisation: Optimisation = OPTIMISATION, **model: Any
    ) -> None:
        super().__init__()
        self.loss_weights = loss_weights
        self.set_up(SpectronModel(**model), optimisation)  # jsonargparse follows ``**model`` into this constructor
        computed = {name for segment in self.model.segments.values() for name in segment.optional_losses}
        for name in ALIGNMENT_LOSSES:
            if loss_weights.of(name) > 0 and name not in computed:
                raise ConfigError(
                    "this sequence has no steps of equal length, at which a word could be predicted. Set it to 0",
                    key=f"loss_weights.{name}",
                )

    def sample_rates(self) -> SampleRates:
        """Return the sample rates of prompts and continuations that the model expects from the data module."""
        return SampleRates(self.model.prompt_rate_hz, self.model.speech_rate_hz)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        losses = set[str]().union(*(segment.loss_names() for segment in self.model.segments.values()))
        return {f"val/{name}" for name in ("loss", "text_only", *losses)}

    def require_fits_context(self, data: Any, decodings: list[Decoding]) -> None:
        """See ``ChecksContext``."""
        if isinstance(data, StatesLengths):
            require_fits_context(self.model, data.lengths())
            for decoding in decodings:
                require_fits_context(self.model, data.lengths(validation_only=True), decoding)
        if isinstance(data, StatesLines):
            require_lines_fit_context(self.model.language_model, data.lines())

    def require_usable_texts(self, data: Any) -> None:
        """Refuse texts that contain the mark between transcript and continuation: their halves could not be told apart.

        Raises:
            DataError: naming the first such utterance.
        """
        sequence = self.model.settings
        mark = sequence.text_separator.strip()
        if not mark or sequence.text not in ("before", "interleaved") or not isinstance(data, StatesLengths):
            return
        marked = list(dict.fromkeys(item.id for item in data.lengths() if any(mark in text for text in item.texts)))
        if marked:
            raise DataError(
                f"the text of {marked[0]!r} contains {mark!r}, the text_separator of the model ({len(marked)} such "
                "utterances): remove it from the texts, or choose another model.sequence.text_separator"
            )

    def loss_terms(self, batch: SpeechBatch | list[str]) -> dict[str, LossTerm]:
        """Compute the losses of all segments, without optional ones of weight 0; of lines of text, their loss alone."""
        if isinstance(batch, list):
            return {"text_only": text_alone(self.model.language_model, batch)}
        return self.model.losses(self.model(batch), self.wanted_losses())

    def wanted_losses(self) -> list[str]:
        """Return the optional losses whose weight is not 0."""
        optional = (name for segment in self.model.segments.values() for name in segment.optional_losses)
        return [name for name in optional if self.loss_weights.of(name) > 0]

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Compute the weighted sum of the losses.

        A training batch of lines of text has its own weighted loss; validation logs that loss apart from the total.
        """
        trained = {name: None for segment in self.model.segments.values() for name in segment.trained_losses}
        weighted = [self.loss_weights.of(name) * means[name] for name in trained if name in means]
        return sum(weighted[1:], weighted[0]) if weighted else self.loss_weights.text_only * means["text_only"]

    def teacher_forced_mel(self, batch: SpeechBatch) -> tuple[Tensor, Tensor] | None:
        """Predict the spectrogram (B, T, M) from the true past frames, and its (B,) valid frames; None without one."""
        predicted = self.model(batch)
        found = (
            segment.spectrogram(predicted.stretches[name], predicted.hidden[name])
            for name, segment in self.model.segments.items()
        )
        return next((spectrogram for spectrogram in found if spectrogram is not None), None)

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order, with named axes."""
        hidden = self.model(batch).hidden
        return {
            "prompt (B, S)": tuple(batch.prompt.shape),
            "continuation (B, S')": tuple(batch.continuation.shape),
            **{f"{name} (B, L, D)": tuple(states.shape) for name, states in hidden.items()},
        }
