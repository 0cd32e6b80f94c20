"""Training of a speech encoder, or of a recogniser that judges speech, with CTC."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.resampling import SampleRates
from spectron.batch import LossTerm, SpeechBatch
from spectron.context_length import StatesLengths
from spectron.contracts import SpeechEncoder
from spectron.errors import ConfigError, DataError, errors_of_part
from spectron.training.base import OPTIMISATION, TrainingModule
from spectron.training.optimisation import Optimisation

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
SIGNS_SHOWN = 10  # characters that a message lists


class CTCModel(nn.Module):
    """A recogniser: an encoder and one linear layer to characters, index 0 being CTC's blank.

    Source: Graves et al. 2006. Texts are spelled in lower case. Characters outside ``characters`` are left out of the
    targets.

    Raises:
        ConfigError: if ``characters`` contains a capital letter or repeats a character.
    """

    def __init__(self, encoder: SpeechEncoder, characters: str = LETTERS) -> None:
        super().__init__()
        if not characters or characters != characters.lower() or len(set(characters)) < len(characters):
            raise ConfigError(
                f"must be characters in lower case, each of them once, got {characters!r}",
                key="characters",
            )
        self.encoder = encoder
        self.characters = characters
        with errors_of_part("encoder", encoder):
            self.output = nn.Linear(encoder.output_dim, len(characters) + 1)

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log-probabilities (B, U, C + 1) of characters, and (B,) valid steps."""
        features, num_steps = self.encoder(waveform, num_samples)
        return self.output(features).float().log_softmax(-1), num_steps

    def spell(self, text: str) -> list[int]:
        """Return the indices of the characters of a text."""
        return [self.characters.index(character) + 1 for character in text.lower() if character in self.characters]

    @torch.inference_mode()
    def transcribe(self, waveform: Tensor, num_samples: Tensor) -> list[str]:
        """Transcribe (B, S) audio at the encoder's rate greedily."""
        log_probabilities, num_steps = self(waveform, num_samples)
        best = log_probabilities.argmax(-1)
        return [self.collapse(row[:steps].tolist()) for row, steps in zip(best, num_steps.tolist(), strict=True)]

    def collapse(self, path: list[int]) -> str:
        """Convert a CTC path to its text: repeats joined, blanks removed."""
        kept = [index for place, index in enumerate(path) if index and (place == 0 or path[place - 1] != index)]
        return " ".join("".join(self.characters[index - 1] for index in kept).split())


class CTCModule(TrainingModule):
    """Task that trains an encoder to transcribe speech as characters.

    Args:
        encoder: Encoder to train.
        characters: Characters of the transcripts.
        optimisation: Adam, its schedule, what is frozen.
    """

    model: CTCModel

    def __init__(
        self, encoder: SpeechEncoder, characters: str = LETTERS, optimisation: Optimisation = OPTIMISATION
    ) -> None:
        super().__init__()
        self.set_up(CTCModel(encoder, characters), optimisation)

    def sample_rates(self) -> SampleRates:
        """Return the encoder's rate; there is no continuation."""
        return SampleRates(self.model.encoder.sample_rate_hz, self.model.encoder.sample_rate_hz)

    def measure_names(self) -> set[str]:
        """Return the validation losses that this task logs."""
        return {"val/loss", "val/ctc", "val/character_error_rate"}

    def require_usable_texts(self, data: Any) -> None:
        """Report the characters of transcripts that the targets leave out.

        Raises:
            DataError: if the targets would leave out more than half of all characters.
        """
        if not isinstance(data, StatesLengths):
            return
        known = set(self.model.characters)
        counts: Counter[str] = Counter()
        unspelled = 0
        for item in data.lengths():
            signs = Counter("".join(item.texts[0].lower().split()))
            counts += signs
            unspelled += bool(signs) and known.isdisjoint(signs)
        lost = Counter({sign: count for sign, count in counts.items() if sign not in known})
        if not lost:
            return
        most = ", ".join(f"{sign!r} {count}" for sign, count in lost.most_common(SIGNS_SHOWN))
        message = (
            f"{lost.total()} of {counts.total()} characters of the transcripts are not among model.characters and are "
            f"left out of the targets: {most}{', ...' * (len(lost) > SIGNS_SHOWN)}. {unspelled} transcripts have no "
            "other characters"
        )
        if 2 * lost.total() > counts.total():
            raise DataError(f"{message}. Set model.characters to the letters of the transcripts")
        rank_zero_warn(message)

    def loss_terms(self, batch: SpeechBatch) -> dict[str, LossTerm]:
        """Compute the CTC loss in nats per character and, at validation, the character error rate."""
        log_probabilities, num_steps = self.model(batch.prompt, batch.prompt_num_samples)
        spelled = [self.model.spell(text) for text in batch.prompt_text]
        lengths = torch.tensor([len(row) for row in spelled], device=log_probabilities.device)
        targets = torch.tensor(
            [index for row in spelled for index in row], dtype=torch.long, device=log_probabilities.device
        )
        loss = functional.ctc_loss(
            log_probabilities.transpose(0, 1), targets, num_steps, lengths, reduction="sum", zero_infinity=True
        )
        terms = {"ctc": LossTerm(loss, lengths.sum())}
        if not self.training:
            import jiwer

            best = log_probabilities.argmax(-1)
            guesses = [self.model.collapse(row[:n].tolist()) for row, n in zip(best, num_steps.tolist(), strict=True)]
            edits = jiwer.process_characters([text.lower() for text in batch.prompt_text], guesses)
            wrong = edits.substitutions + edits.deletions + edits.insertions
            terms["character_error_rate"] = LossTerm(
                loss.new_tensor(wrong), loss.new_tensor(sum(map(len, batch.prompt_text)))
            )
        return terms

    def total(self, means: dict[str, Tensor]) -> Tensor:
        """Return the CTC loss."""
        return means["ctc"]

    def shapes(self, batch: SpeechBatch) -> dict[str, tuple[int, ...]]:
        """Return tensor shapes through the model, in order."""
        features, _ = self.model.encoder(batch.prompt, batch.prompt_num_samples)
        return {"audio (B, S)": tuple(batch.prompt.shape), "features (B, U, D)": tuple(features.shape)}
