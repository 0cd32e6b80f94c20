"""Segment of codes that another stage speaks: semantic units before acoustic codes, coarse codes before fine ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.batch import Prompts, SpeechBatch, SpokenLength
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.segments.segment import Context, Parts, Positions, Stretch
from spectron.tokenizers.tokenizer import SpeechTokenizer, keep_fingerprint


class CodeContext(Context):
    """Codes of the prompt and of its continuation, as another stage of a chain speaks it (AudioLM, arXiv:2209.03143).

    In training the codes are those of the true continuation. Prompt and continuation are tokenized apart, so that the
    codes of all stages cover the same stretches of time.

    Args:
        parts: Parts of the model (supplied by the platform).
        tokenizer: Tokenizer of that stage.
        stage: Name of that stage in the chain.

    Raises:
        ConfigError: if the tokenizer has another sample rate than the model's recordings.
    """

    def __init__(self, parts: Parts, tokenizer: SpeechTokenizer, stage: str) -> None:
        super().__init__(parts)
        rates = {parts.prompt_rate_hz, parts.head.format.sample_rate_hz}
        if rates != {tokenizer.sample_rate_hz}:
            of_model = " and ".join(map(str, sorted(rates)))
            message = f"hears {tokenizer.sample_rate_hz} Hz, but the model's recordings have {of_model} Hz"
            raise ConfigError(message, key="tokenizer")
        self._tokenizer = [tokenizer]  # a list, so that its weights are not the segment's
        self.stage, self.format, self.reads = stage, tokenizer.format, {stage: tokenizer.format}
        self.codes = nn.ModuleList(
            nn.Embedding(size, parts.language_model.hidden_size) for size in tokenizer.format.sizes
        )
        self.part = nn.Embedding(2, parts.language_model.hidden_size)  # prompt, continuation
        for table in (*self.codes, self.part):
            nn.init.normal_(table.weight, std=0.02)
        keep_fingerprint(self, tokenizer.fingerprint)

    def forward(self, batch: SpeechBatch) -> Stretch:
        """Embed the codes of prompts and true continuations."""
        return self.embedded(batch.prompts, *self.tokenized(batch.continuation, batch.continuation_num_samples))

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

    def tokenized(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize recordings (B, S) as codes (B, T, Q) and (B,) valid frames."""
        return self._tokenizer[0].to(waveform.device)(waveform, num_samples)

    def embedded(self, prompts: Prompts, codes: Tensor, num_frames: Tensor) -> Stretch:
        """Embed the codes of prompts, and then these codes (B, T, Q) with (B,) valid frames."""
        stretches = [self.tokenized(prompts.waveform, prompts.num_samples), (codes, num_frames)]
        embeddings = [
            torch.stack([table(each[..., book].clamp(min=0)) for book, table in enumerate(self.codes)]).sum(0)
            + self.part.weight[number]
            for number, (each, _) in enumerate(stretches)
        ]
        valid = [~padding_mask(lengths, each.shape[1]) for each, lengths in stretches]
        return Stretch(torch.cat(embeddings, dim=1), torch.cat(valid, dim=1))

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the frames of prompt and continuation."""
        seconds = length.continuation_seconds
        if decoding is not None and (decoding.length == "free" or not seconds):
            seconds = decoding.max_seconds
        frames = [math.ceil(time * self.format.rate_hz) + 1 for time in (length.prompt_seconds, seconds)]
        return Positions(sum(frames), limits=("max_seconds",))
