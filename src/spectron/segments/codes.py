"""Segment of codes that another stage speaks: semantic units before acoustic codes, coarse codes before fine ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.audio.resampling import resample_rows
from spectron.batch import Prompts, SpeechBatch, SpokenLength
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.segments.segment import Context, Parts, Positions, Stretch
from spectron.segments.speech import most_seconds
from spectron.tokenizers.tables import embedded, small_table
from spectron.tokenizers.tokenizer import Outside, SpeechTokenizer, keep_fingerprint


class CodeContext(Context):
    """Codes of the prompt and of its continuation, as another stage of a chain speaks it (AudioLM, arXiv:2209.03143).

    In training the codes are those of the true continuation. Prompt and continuation are tokenized apart, so that the
    codes of all stages cover the same stretches of time.

    Args:
        parts: Parts of the model (supplied by the platform).
        tokenizer: Tokenizer of that stage.
        stage: Name of that stage in the chain.
    """

    def __init__(self, parts: Parts, tokenizer: SpeechTokenizer, stage: str) -> None:
        super().__init__(parts)
        self.outside = Outside(tokenizer)
        self.stage, self.format, self.reads = stage, tokenizer.format, {stage: tokenizer.format}
        width = parts.language_model.hidden_size
        self.codes = nn.ModuleList(small_table(size, width) for size in tokenizer.format.sizes)
        self.part = small_table(2, width)  # prompt, continuation
        keep_fingerprint(self, tokenizer.fingerprint)

    def forward(self, batch: SpeechBatch) -> Stretch:
        """Embed the codes of prompts and true continuations."""
        rate = self.parts.head.format.sample_rate_hz
        return self.embedded(batch.prompts, *self.tokenized(batch.continuation, batch.continuation_num_samples, rate))

    def given(self, prompts: Prompts) -> Stretch:
        """Embed the codes of prompts and of what the other stage has spoken.

        Raises:
            ConfigError: with the key ``stage``, if the prompts hold no speech of that stage.
        """
        if self.stage not in prompts.stages:
            raise ConfigError(
                f"this model needs the codes of the stage `{self.stage}`: it speaks only in a chain of stages",
                key="stage",
            )
        return self.embedded(prompts, *prompts.stages[self.stage])

    def tokenized(self, waveform: Tensor, num_samples: Tensor, rate_hz: int) -> tuple[Tensor, Tensor]:
        """Tokenize recordings (B, S) of this sample rate as codes (B, T, Q) and (B,) valid frames."""
        tokenizer = self.outside.on(waveform.device)
        return tokenizer(*resample_rows(waveform, num_samples, rate_hz, tokenizer.sample_rate_hz))

    def embedded(self, prompts: Prompts, codes: Tensor, num_frames: Tensor) -> Stretch:
        """Embed the codes of prompts, and then these codes (B, T, Q) with (B,) valid frames."""
        prompt = self.tokenized(prompts.waveform, prompts.num_samples, self.parts.prompt_rate_hz)
        stretches = [prompt, (codes, num_frames)]
        embeddings = [
            embedded(self.codes, each.clamp(min=0)) + self.part.weight[number]
            for number, (each, _) in enumerate(stretches)
        ]
        valid = [~padding_mask(lengths, each.shape[1]) for each, lengths in stretches]
        return Stretch(torch.cat(embeddings, dim=1), torch.cat(valid, dim=1))

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the frames of prompt and continuation."""
        times = length.prompt_seconds, most_seconds(length, decoding)
        frames = [math.ceil(time * self.format.rate_hz) + 1 for time in times]
        return Positions(sum(frames), limits=("max_seconds",))
