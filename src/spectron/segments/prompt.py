"""Segment of the spoken prompt: the encoder's features, projected to the width of the language model."""

from __future__ import annotations

import math
from typing import Literal, cast

from torch import nn

from spectron.audio.mel import padding_mask
from spectron.batch import Prompts, SpokenLength
from spectron.contracts import Decoding, SpeechEncoder
from spectron.errors import ConfigError, errors_of_part
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

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the features of a prompt."""
        return Positions(math.ceil(length.prompt_seconds * self.encoder.frame_rate_hz) + 1)
