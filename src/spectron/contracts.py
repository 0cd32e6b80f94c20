"""What each swappable part must do. A user's own part subclasses one of these and is named by ``class_path`` in a YAML.

Axes and units stand in ``batch.py``. Two rules hold for every part: padding never changes a valid output, and a batch gives what
its rows give one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig, padding_mask
from spectron.batch import Continuation, LossTerm, Prompts, SpeechBatch, SpeechScores, SpeechTargets
from spectron.errors import ConfigError
from spectron.probing import RATE_TOLERANCE_HZ, TRANSPOSED, Probed, counted_rate, shown
from spectron.randomness import RowRandom

FILLER_TOKENS = 16


@dataclass
class Decoding:
    """How a model decodes.

    Args:
        max_text_tokens: Longest text written, end token included.
        max_seconds: Longest speech spoken; a row that reaches it did not stop by itself.
        min_seconds: Speech spoken before the stop probability is looked at.
        stop_threshold: Stop probability at which a row ends.
        temperature: 0 takes the likeliest token; above, tokens are sampled.
        top_k: Sampling is among the ``top_k`` likeliest tokens; 0 means all.
        seed: Seeds each row's sampling together with the row's id.
        chain: What stands between prompt and speech. ``trained``: what the model was trained to put there, usually the text that it writes.
            ``given``: the prompts' true ``texts``, so that the speech can be held against the reference. ``none``: an empty text, which
            is the sequence that training makes of one. ``filler``: ``filler_tokens`` places that say nothing.
        filler_tokens: Places of the ``filler`` chain.
        length: ``free``: until the stop probability or ``max_seconds``. ``reference``: as long as the prompt's reference,
            ``speech_num_samples``, whatever stop probability and limits say; rows without one are free.

    Raises:
        ConfigError: if ``max_text_tokens`` or ``filler_tokens`` is smaller than 1, ``max_seconds`` is not above 0, or ``temperature`` or
            ``top_k`` is below 0.
    """

    max_text_tokens: int = 64
    max_seconds: float = 10.0
    min_seconds: float = 0.1
    stop_threshold: float = 0.5
    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0
    chain: Literal["trained", "given", "none", "filler"] = "trained"
    filler_tokens: int = FILLER_TOKENS
    length: Literal["free", "reference"] = "free"

    def __post_init__(self) -> None:
        if self.filler_tokens < 1:
            raise ConfigError(
                f"must be at least 1 (`chain: none` is without text), got {self.filler_tokens}", key="filler_tokens"
            )
        if self.max_text_tokens < 1:
            raise ConfigError(
                f"must be at least 1 (`chain: none` is without text), got {self.max_text_tokens}", key="max_text_tokens"
            )
        if not self.max_seconds > 0:
            raise ConfigError(f"must be above 0, got {self.max_seconds:g}", key="max_seconds")
        for name in ("temperature", "top_k"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"must be 0 or above, got {getattr(self, name):g}", key=name)


@runtime_checkable
class SavesItself(Protocol):
    """A part with a format of its own, such as transformers'; it is built again from ``source``, the folder that it wrote."""

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write all of it (in 16-bit floats if ``half``); the arguments, beside ``source``, that build the same part again."""


class SpeechEncoder(nn.Module, ABC):
    """Waveform in, feature sequence out; owns its front end.

    Attributes:
        sample_rate_hz: Rate at which it wants the waveform.
        frame_rate_hz: Feature vectors a second; found by the platform where the encoder does not say it.
        output_dim: Width D of a feature vector; found by the platform where the encoder does not say it.
    """

    sample_rate_hz: int
    frame_rate_hz: float = Probed()  # type: ignore[assignment]
    output_dim: int = Probed()  # type: ignore[assignment]

    @abstractmethod
    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) features and (B,) valid steps."""

    def require_set_up(self) -> None:
        """Refuse an encoder that its constructor has not finished.

        Raises:
            ConfigError: naming what is missing.
        """
        if "_modules" not in vars(self):
            raise ConfigError("its constructor does not call super().__init__(). Call it first")
        rate = getattr(self, "sample_rate_hz", None)
        if not isinstance(rate, int) or rate <= 0:
            said = "sets no sample_rate_hz" if rate is None else f"sets sample_rate_hz to {rate!r}"
            raise ConfigError(
                f"it {said}. Set self.sample_rate_hz in its constructor to the rate of the waveform that it wants, such as 16000"
            )

    def require_rate(self, found: float | None = None) -> None:
        """Refuse a stated frame rate that its steps do not come at.

        Args:
            found: Steps a second, where they have been counted already.

        Raises:
            ConfigError: with both rates.
        """
        stated = vars(self).get("frame_rate_hz")
        if stated is None:
            return
        found = counted_rate(self) if found is None else found
        if abs(stated - found) > RATE_TOLERANCE_HZ:
            raise ConfigError(
                f"{type(self).__name__} sets frame_rate_hz to {stated:g}, and its steps come at {found:g} a second. "
                "Remove the attribute: it is found by the platform"
            )

    def tried(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """``forward``, its result held against what it should be.

        Raises:
            ConfigError: saying what it gives instead.
        """
        self.require_set_up()
        result = self(waveform, num_samples)
        pair = "Return the pair features (B, U, D), num_steps (B,)"
        if not (
            isinstance(result, tuple) and len(result) == 2 and all(isinstance(tensor, Tensor) for tensor in result)
        ):
            raise ConfigError(f"forward gives {shown(result)}. {pair}")
        features, num_steps = result
        if features.ndim != 3 or len(features) != len(waveform) or not features.is_floating_point():
            raise ConfigError(f"forward gives features {shown(features)} for {len(waveform)} recordings. {pair}")
        if num_steps.shape != num_samples.shape or num_steps.dtype != torch.long:
            raise ConfigError(f"forward gives num_steps {shown(num_steps)}. Count whole steps: (B,) of torch.long")
        if num_steps.device != features.device:
            raise ConfigError(
                f"forward gives features on {features.device} and num_steps on {num_steps.device}. Derive them from num_samples"
            )
        too_many = int(num_steps.max()) > features.shape[1] or int(num_steps.min()) < 0
        other_width = vars(self).get("output_dim", features.shape[2]) != features.shape[2]
        if (too_many or other_width) and int(num_steps.max()) == features.shape[2]:
            raise ConfigError(f"forward gives features {shown(features)} and {num_steps.tolist()} steps. {TRANSPOSED}")
        if too_many:
            raise ConfigError(
                f"forward gives {num_steps.tolist()} valid steps of {features.shape[1]}. Count what it makes of num_samples"
            )
        if other_width:
            raise ConfigError(
                f"output_dim is {self.output_dim}, and its features are {features.shape[2]} wide. Leave output_dim out"
            )
        return features, num_steps

    def encode_for_model(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """What ``tried`` gives within a model, where an encoder that breaks its word is told by its key.

        Raises:
            ConfigError: naming ``model.encoder``.
        """
        try:
            return self.tried(waveform, num_samples)
        except ConfigError as error:
            raise ConfigError(f"{type(self).__name__}: {error}", key="model.encoder") from error


class LanguageModel(nn.Module, ABC):
    """A causal text LM that also accepts embeddings; owns its tokenizer.

    Attributes:
        hidden_size: Width D of its embeddings and hidden states.
        max_positions: Longest sequence it can take, None where there is no limit.
        sos_id: Token that starts a text.
        eos_id: Token that ends a text.
        bidirectional: Whether a place can look at later ones where ``attention_mask`` says so.
    """

    hidden_size: int
    max_positions: int | None
    sos_id: int
    eos_id: int
    bidirectional: bool = True

    @abstractmethod
    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts to ids (B, N), padded, and (B,) token counts; without start and end tokens."""

    def text_sequence(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs ``sos, text``, targets ``text, eos`` (padded with eos) and where they are valid, each (B, N + 1)."""
        ids, num_tokens = self.tokenize(texts)
        inputs = torch.nn.functional.pad(ids, (1, 0), value=self.sos_id)
        targets = torch.nn.functional.pad(ids, (0, 1), value=self.eos_id)
        targets = targets.masked_fill(padding_mask(num_tokens, targets.shape[1]), self.eos_id)
        return inputs, targets, ~padding_mask(num_tokens + 1, inputs.shape[1])

    @abstractmethod
    def detokenize(self, ids: list[list[int]]) -> list[str]:
        """Ids to texts, special tokens left out."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, N) to embeddings (B, N, D)."""

    @abstractmethod
    def forward(
        self, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, cache: object | None = None
    ) -> tuple[Tensor, object]:
        """Embeddings (B, L, D) to hidden states (B, L, D) and the cache to pass on.

        ``attention_mask`` (B, L, L_past + L) is True where a query may look at a key; ``positions`` (B, L) are integer positions.
        ``cache`` is None for a first call or the object that an earlier call gave back.
        """

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., D) to token logits (..., V)."""


class SpeechHead(nn.Module, ABC):
    """Turns LM states into speech targets, and targets into LM inputs. Built as ``Head(hidden_size, ...)`` with the LM's.

    Attributes:
        mel: Spectrogram settings of its targets; the waveform rate is ``mel.sample_rate_hz``.
        frames_per_step: Mel frames r that one decoding step yields.
    """

    mel: MelConfig
    frames_per_step: int

    @abstractmethod
    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Speech (B, S) at ``mel.sample_rate_hz`` to what the head should produce."""

    @abstractmethod
    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Steps (B, K, F) to LM inputs (B, K, D). ``random`` makes any sampling a matter of the row alone."""

    @abstractmethod
    def loss(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, LossTerm]:
        """Named losses of hidden states (B, K, D); the key ``speech`` is the weighted whole that training minimises."""

    @abstractmethod
    def step(self, hidden: Tensor, random: RowRandom | None = None) -> tuple[Tensor, Tensor]:
        """Hidden state (B, D) to the next step's vector (B, F) and stop probability (B,); ``random`` as in ``embed``."""

    @abstractmethod
    def spectrogram(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Steps (B, K, F) with (B,) valid to log-mel (B, T, M) and (B,) valid frames."""


class Vocoder(nn.Module, ABC):
    """Log-mel to waveform. Built as ``Vocoder(mel, ...)`` with the speech head's spectrogram settings.

    Raises a ``ConfigError`` when built for settings that it cannot invert.
    """

    mel: MelConfig

    @abstractmethod
    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (B, T, M) with (B,) valid frames to waveform (B, S) and (B,) valid samples."""


class SpokenLanguageModel(ABC):
    """Anything that continues speech: Spectron and every system it is compared with.

    Attributes:
        prompt_rate_hz: Sample rate of the prompts that it wants.
        speech_rate_hz: Sample rate of the speech that it gives.
    """

    prompt_rate_hz: int
    speech_rate_hz: int

    @abstractmethod
    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Answer or continue every prompt of a batch.

        The reference that ``prompts`` may hold is looked at only where ``decoding.chain`` or ``decoding.length`` says so.

        Raises:
            ConfigError: naming ``decoding.chain`` or ``decoding.length``, from a system that generates and cannot do what it says (it
                writes no text before it speaks, for one), or where the prompts lack the reference that it needs.
        """

    def writes_text(self, decoding: Decoding) -> bool:
        """Whether it writes what it heard and will say; a system of speech alone answers False, and no metric of texts counts for it."""
        return True


@runtime_checkable
class ScoresSpeech(Protocol):
    """A system that tells how likely it finds given text and speech, which pairs of a right and a wrong candidate are judged by."""

    def score_speech(self, batch: SpeechBatch) -> SpeechScores:
        """Score every row's text after its prompt, and its continuation after prompt and text; no gradient."""
