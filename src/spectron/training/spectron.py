"""Training of Spectron: losses of text and speech, and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch, TeacherForced
from spectron.context_length import StatesLengths, StatesLines, require_fits_context, require_lines_fit_context
from spectron.contracts import Decoding
from spectron.errors import DataError
from spectron.losses import ALIGNMENT_LOSSES
from spectron.model import SpectronModel, text_alone
from spectron.ranges import NonNegative, checks_ranges
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
    """

    text: NonNegative = 1.0
    speech: NonNegative = 0.1
    text_only: NonNegative = 1.0
    alignment: NonNegative = 0.0
    spelling: NonNegative = 0.0


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

    def sample_rates(self) -> SampleRates:
        """Return the sample rates of prompts and continuations that the model expects from the data module."""
        return SampleRates(self.model.prompt_rate_hz, self.model.speech_rate_hz)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        names = {"loss", "text", "text_accuracy", "text_only", *ALIGNMENT_LOSSES} | self.model.speech_loss_names()
        return {f"val/{name}" for name in names}

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
        mark = self.model.text_separator.strip()
        if not mark or self.model.chain != "written" or not isinstance(data, StatesLengths):
            return
        marked = list(dict.fromkeys(item.id for item in data.lengths() if any(mark in text for text in item.texts)))
        if marked:
            raise DataError(
                f"the text of {marked[0]!r} contains {mark!r}, the text_separator of the model ({len(marked)} such "
                "utterances): remove it from the texts, or choose another model.text_separator"
            )

    def loss_terms(self, batch: SpeechBatch | list[str]) -> dict[str, LossTerm]:
        """Compute the losses of text and speech and the accuracy of text tokens; of lines of text, their loss alone."""
        if isinstance(batch, list):
            return {"text_only": text_alone(self.model.language_model, batch)}
        predicted = self.model(batch)
        right = (predicted.text_logits.argmax(-1) == predicted.text_targets) & predicted.text_valid
        accuracy = LossTerm(right.sum().float(), predicted.text_valid.sum())
        named = [name for name in ALIGNMENT_LOSSES if getattr(self.loss_weights, name) > 0]
        return {
            **self.model.losses(predicted),
            "text_accuracy": accuracy,
            **self.model.alignment_losses(predicted, batch, named),
        }

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Compute the weighted sum of the losses.

        A training batch of lines of text has its own weighted loss; validation logs that loss apart from the total.
        """
        if "text" not in means:
            return self.loss_weights.text_only * means["text_only"]
        loss = self.loss_weights.text * means["text"] + self.loss_weights.speech * means["speech"]
        return loss + sum(getattr(self.loss_weights, what) * means[what] for what in ALIGNMENT_LOSSES if what in means)

    def teacher_forced_mel(self, batch: SpeechBatch) -> tuple[Tensor, Tensor]:
        """Predict the spectrogram (B, T, M) from the true past frames, and its (B,) valid frames."""
        predicted: TeacherForced = self.model(batch)
        steps = self.model.predicted_steps(predicted.speech_hidden)
        mel, _ = self.model.head.spectrogram(steps, predicted.speech_targets.num_steps)
        return mel, predicted.speech_targets.num_frames

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order, with named axes."""
        p = self.model(batch)
        return {
            "prompt (B, S)": tuple(batch.prompt.shape),
            "prefix (B, U, D)": tuple(p.prefix.shape),
            "text logits (B, N + 1, V)": tuple(p.text_logits.shape),
            "continuation (B, S')": tuple(batch.continuation.shape),
            "mel (B, T, M)": tuple(p.speech_targets.mel.shape),
            "speech steps (B, K, F)": tuple(p.speech_targets.steps.shape),
            "speech hidden (B, K, D)": tuple(p.speech_hidden.shape),
        }
