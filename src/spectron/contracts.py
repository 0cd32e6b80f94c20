"""Contracts of the swappable parts: base classes with one abstract method for each task of a part.

A user's own part subclasses one of them and is named by ``class_path`` in a YAML. ``batch.py`` explains axes and units.
Two rules apply to every part: padding never changes a valid output, and each row of a batch gives what it gives alone.
``spectron.conformance`` checks a part against its contract; nothing here does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig
from spectron.audio.speech_format import SpeechFormat
from spectron.batch import Continuation, LossTerm, Prompts, SpeechBatch, SpeechScores, SpeechTargets
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.probing import Probed
from spectron.randomness import RowRandom


@runtime_checkable
class SavesItself(Protocol):
    """A part with a custom file format, such as transformers'; ``source``, the folder, is enough to build it again."""

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write the part (in 16-bit floats if ``half``); return the arguments, besides ``source``, that rebuild it."""


class SpeechEncoder(nn.Module, ABC):
    """Speech encoder: waveform in, feature sequence out; includes its front end.

    Attributes:
        sample_rate_hz: Sample rate of its input.
        frame_rate_hz: Feature vectors per second; measured by the platform unless the encoder sets it.
        output_dim: Width D of a feature vector; measured by the platform unless the encoder sets it.
    """

    sample_rate_hz: int
    frame_rate_hz: float = Probed()  # type: ignore[assignment]
    output_dim: int = Probed()  # type: ignore[assignment]

    @abstractmethod
    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples as (B, U, D) features and (B,) valid steps."""


class LanguageModel(nn.Module, ABC):
    """Causal text language model that also accepts embeddings; includes its tokenizer.

    Attributes:
        hidden_size: Width D of its embeddings and hidden states.
        max_positions: Length of the longest sequence that it accepts, None if there is no limit.
        sos_id: Token that starts a text.
        eos_id: Token that ends a text.
        bidirectional: Whether a position can attend to later ones if ``attention_mask`` allows it.
    """

    hidden_size: int
    max_positions: int | None
    sos_id: int
    eos_id: int
    bidirectional: bool = True

    @abstractmethod
    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenize texts without start and end tokens: padded ids (B, N) and token counts (B,), both on the CPU.

        A text is text: one that spells a special token, such as ``</s>``, must not become that token.
        """

    @abstractmethod
    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Convert ids to texts, without special tokens."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Embed token ids (B, N) as (B, N, D)."""

    @abstractmethod
    def forward(
        self, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, cache: object | None = None
    ) -> tuple[Tensor, object]:
        """Transform embeddings (B, L, D) into hidden states (B, L, D); return them and the cache for the next call.

        ``attention_mask`` (B, L, L_past + L) is True where a query may attend to a key; ``positions`` (B, L) are
        integers. ``cache`` is None in a first call, else the object that the previous call returned.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Convert hidden states (..., D) to token logits (..., V)."""


class SpeechHead(nn.Module, ABC):
    """Speech head: LM states to speech targets, and targets to LM inputs. Built as ``Head(hidden_size, ...)``.

    Attributes:
        format: What it gives to the vocoder, such as a mel of some settings; it has the rates of waveform and frames.
        frames_per_step: Frames r of one decoding step, if each step has as many.
        likelihood: Name of the loss that is a negative log-likelihood in nats, None if there is none.
    """

    format: SpeechFormat
    frames_per_step: int = 1
    likelihood: str | None = None

    @property
    def steps_per_second(self) -> float | None:
        """Steps in a second of speech; None if they are not equally long."""
        return self.format.frame_rate_hz / self.frames_per_step

    @abstractmethod
    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Compute the training targets of speech (B, S) at ``format.sample_rate_hz`` with (B,) valid samples.

        A stop that is a code of its own is the last step.
        """

    def history(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps (B, K, F) of speech that goes on, such as a prompt, without a stop, and (B,) valid steps."""
        targets = self.targets(waveform, num_samples)
        return targets.steps, targets.num_steps

    @abstractmethod
    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed steps (B, K, F) as LM inputs (B, K, D); ``random`` makes any sampling depend on the row alone."""

    @abstractmethod
    def loss(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, LossTerm]:
        """Compute named losses of hidden states (B, K, D); ``speech`` is the weighted total that training minimises."""

    def step_losses(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Return losses at each step (B, K), 0 at padding, whose sums are the totals of ``loss``.

        A loss that is no sum over steps is left out, so by default all of them are.
        """
        return {}

    @abstractmethod
    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict the next step (B, F) and the stop probability (B,) from a hidden state (B, D).

        ``past`` holds the steps so far. Rows where ``may_stop`` (B,) is False go on: a head whose stop is a code of its
        own must not choose it there. Such a head returns 1 where it has chosen the stop.
        """

    def predicted_steps(self, hidden: Tensor, targets: SpeechTargets) -> Tensor:
        """Predict steps (B, K, F) from hidden states (B, K, D), each from its own state and the true past."""
        return self.step(hidden.flatten(0, 1))[0].unflatten(0, hidden.shape[:2])

    def frames_in(self, step: Tensor, index: int) -> Tensor | int:
        """Return how many frames (B,) are complete with step (B, F) number ``index``; 0 for a stop."""
        return self.frames_per_step

    def most_steps(self, frames: int) -> int:
        """Return the largest number of steps that so many frames can take, stop included."""
        return -(-frames // self.frames_per_step)

    @abstractmethod
    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Convert steps (B, K, F) with (B,) valid to frames (B, T, ...) of ``format`` and (B,) valid frames."""


class Vocoder(nn.Module, ABC):
    """Vocoder: frames of speech to waveform. Built as ``Vocoder(format, ...)`` with the speech head's format.

    Attributes:
        takes: Class of the formats that it takes.
        format: The format that it takes.

    Raises:
        ConfigError: if it is built for a format that it does not take.
    """

    takes: type[SpeechFormat] = MelConfig

    def __init__(self, format: SpeechFormat) -> None:
        super().__init__()
        if not isinstance(format, self.takes):
            raise ConfigError(f"takes {self.takes.__name__}, but the speech head gives {format}. Use another vocoder")
        self.format = format

    @abstractmethod
    def forward(self, frames: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Convert frames (B, T, ...) with (B,) valid frames to a waveform (B, S) and (B,) valid samples."""


class SpokenLanguageModel(ABC):
    """Anything that continues speech: Spectron and every system that is compared with it.

    Attributes:
        prompt_rate_hz: Sample rate of its prompts.
        speech_rate_hz: Sample rate of its speech.
    """

    prompt_rate_hz: int
    speech_rate_hz: int

    @abstractmethod
    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Answer or continue every prompt of a batch.

        A reference in ``prompts`` is used only if ``decoding.text`` or ``decoding.length`` asks for it.

        Raises:
            ConfigError: with the key ``decoding.text`` or ``decoding.length``, if the system cannot do what the key
                asks for (it writes no text before it speaks, for example), or if the prompts lack the reference.
        """

    def writes_text(self, decoding: Decoding) -> bool:
        """Return whether the system writes text; metrics of texts are left out for a system that returns False."""
        return True


@runtime_checkable
class ScoresSpeech(Protocol):
    """A system that scores given text and speech, for choosing the right one of two candidates."""

    def score_speech(self, batch: SpeechBatch) -> SpeechScores:
        """Score every row's text after its prompt, and its continuation after prompt and text, without gradients."""
