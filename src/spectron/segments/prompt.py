"""Segments of the spoken prompt: features of the encoder, or the same steps as the speech."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, cast

from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.batch import Prompts, SpokenLength
from spectron.contracts import SpeechEncoder
from spectron.decoding import Decoding
from spectron.errors import ConfigError, DataError, errors_of_part
from spectron.generation import DecodingState
from spectron.segments.places import Place, Places
from spectron.segments.segment import Context, Parts, Positions, Stretch


class PromptFeatures(Context):
    """Features of the prompt.

    Args:
        parts: Parts of the model (supplied by the platform).
        attention: Whether prompt positions see each other in both directions (a prefix LM, as in the paper) or only the
            positions before them.

    Raises:
        ConfigError: if there is no encoder, or if bidirectional attention is requested of a language model that cannot
            attend to later positions.
    """

    def __init__(self, parts: Parts, attention: Literal["bidirectional", "causal"] = "bidirectional") -> None:
        super().__init__(parts)
        self.bidirectional = attention == "bidirectional"
        if self.bidirectional and not parts.language_model.bidirectional:
            raise ConfigError(
                "this language model cannot attend to later positions, whatever its mask says. Set prompt_attention to "
                "causal, or use another language model",
                key="prompt_attention",
                allowed=["causal"],
            )
        if parts.encoder is None:
            raise ConfigError("features need an encoder. Set model.encoder, or choose another prompt", key="prompt")
        with errors_of_part("encoder", parts.encoder):
            self.project = nn.Linear(parts.encoder.output_dim, parts.language_model.hidden_size)

    @property
    def encoder(self) -> SpeechEncoder:
        """Speech encoder of the model."""
        return cast(SpeechEncoder, self.parts.encoder)  # the constructor has refused None

    def given(self, prompts: Prompts) -> Stretch:
        """Encode prompts as (B, U, D)."""
        features, num_steps = self.encoder(prompts.waveform, prompts.num_samples)
        valid = ~padding_mask(num_steps, features.shape[1])
        return Stretch(self.project(features), valid, bidirectional=self.bidirectional)

    def places(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> Places:
        """Describe the features by their time in the prompt."""
        rate, count = self.encoder.frame_rate_hz, stretch.valid.shape[1]
        row = [Place(f"feature {at}", "", "prompt", at / rate, (at + 1) / rate) for at in range(count)]
        return Places([row] * len(stretch.valid))

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the features of a prompt."""
        return Positions(math.ceil(length.prompt_seconds * self.encoder.frame_rate_hz) + 1)


class PromptSteps(Context):
    """Steps of the prompt, as the speech head makes and embeds them: units before units, codes before codes.

    Positions see those before them only, as in the speech.

    Args:
        parts: Parts of the model (supplied by the platform).

    Raises:
        ConfigError: if there is an encoder, which nothing would read.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if parts.encoder is not None:
            raise ConfigError(
                "steps are made by the speech head, so nothing reads the encoder. Set model.encoder to null, or prompt "
                "to features",
                key="prompt",
            )
        self.parts.head  # noqa: B018 - built here, so that random weights are drawn in the order of the sequence

    def given(self, prompts: Prompts) -> Stretch:
        """Embed the steps of prompts as (B, K, D)."""
        steps, num_steps = self.parts.head.history(prompts.waveform, prompts.num_samples)
        return Stretch(self.parts.head.embed(steps), ~padding_mask(num_steps, steps.shape[1]))

    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Append the steps of the prompts.

        Raises:
            DataError: naming the prompts that are too short for a step.
        """
        stretch = self.given(prompts)
        steps = stretch.valid.sum(1).tolist()
        empty = [name for name, count in zip(prompts.ids, steps, strict=True) if not count]
        if empty:
            shortest = 1 / self.parts.head.format.frame_rate_hz
            raise DataError(
                f"prompt {', '.join(empty[:5])}{', ...' * (len(empty) > 5)} is too short for one step of speech, "
                f"about {shortest:.2g} s. Give a longer recording"
            )
        state.extend(stretch.embeddings, stretch.valid)

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the steps of a prompt."""
        frames = math.ceil(length.prompt_seconds * self.parts.head.format.frame_rate_hz) + 1
        return Positions(self.parts.head.most_steps(frames))
