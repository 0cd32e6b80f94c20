"""Spectron: a speech encoder's prefix, a language model that writes and then speaks, a speech head, a vocoder.

    positions:   [ prompt encoding (U) | sos, text (N) | eos, speech steps (K - 1) ]
    predicts:                            text, eos       speech steps (K)

Source: arXiv 2305.15255, section 3. No lightning here: inference needs no trainer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig, padding_mask
from spectron.batch import Continuation, LossTerm, Prompts, SpeechBatch, SpeechTargets
from spectron.contracts import Decoding, LanguageModel, SpeechEncoder, SpeechHead, SpokenLanguageModel, Vocoder
from spectron.errors import ConfigError, DataError
from spectron.generation import DecodingState, decode_speech, decode_text, visibility
from spectron.losses import text_cross_entropy
from spectron.vocoders.trial import require_waveform


def text_alone(language_model: LanguageModel, texts: list[str]) -> LossTerm:
    """Cross-entropy of a language model on texts without speech, in nats a token, the end token included.

    Raises:
        DataError: if a text is longer than the model's positions.
    """
    inputs, targets, valid = language_model.text_sequence(texts)
    require_positions(language_model, valid)
    positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    hidden, _ = language_model(language_model.embed(inputs), visibility(valid, inputs.shape[1]), positions)
    return text_cross_entropy(language_model.logits(hidden), targets, valid)


def require_positions(language_model: LanguageModel, valid: Tensor) -> None:
    """Refuse a batch whose valid places, (B, L), are more than the language model's positions.

    Raises:
        DataError: with both numbers.
    """
    limit, longest = language_model.max_positions, int(valid.sum(1).max())
    if limit is not None and longest > limit:
        raise DataError(
            f"a sequence of {longest} positions (prompt, text and speech) does not fit the language model's {limit}: lower "
            "max_seconds, raise frames_per_step, or take a language model with more positions"
        )


Part = TypeVar("Part", SpeechHead, Vocoder)


@dataclass
class TeacherForced:
    """What the model predicts when it is given the true past.

    ``text_logits`` (B, N + 1, V) against ``text_targets`` (B, N + 1), valid where ``text_valid``; ``speech_hidden`` (B, K, D) against
    ``speech_targets``. ``prefix`` (B, U, D) is the projected prompt with ``prefix_steps`` (B,) valid.
    """

    prefix: Tensor
    prefix_steps: Tensor
    text_logits: Tensor
    text_targets: Tensor
    text_valid: Tensor
    speech_hidden: Tensor
    speech_targets: SpeechTargets


class SpectronModel(nn.Module, SpokenLanguageModel):
    """Joins the parts; sizes and rates come from the parts themselves.

    Args:
        encoder: Turns the prompt into features.
        language_model: Reads the projected features and writes text.
        head: Built with the language model's width.
        vocoder: Built with the head's spectrogram settings; it is trained apart, and frozen here.
        prefix_attention: Whether prompt positions see each other ``both_ways`` (a prefix LM, as in the paper) or are ``causal``.
        text_mark: Written between transcript and continuation; the default, a space, is the paper's "no mark". With a mark such as
            `` | `` the two halves can be told apart in the output.

    Raises:
        ConfigError: if the prompt should be seen both ways by a language model that cannot look ahead, or the parts do not fit each other.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        language_model: LanguageModel,
        head: Callable[[int], SpeechHead],
        vocoder: Callable[[MelConfig], Vocoder],
        prefix_attention: Literal["causal", "both_ways"] = "both_ways",
        text_mark: str = " ",
    ) -> None:
        super().__init__()
        if prefix_attention == "both_ways" and not language_model.sees_ahead:
            raise ConfigError(
                "prefix_attention: both_ways is asked for, but this language model cannot look ahead, whatever its mask says: set it to "
                "causal, or take another language model"
            )
        self.encoder = encoder
        self.language_model = language_model
        self.project = nn.Linear(encoder.output_dim, language_model.width)
        self.head = made("head", head, language_model.width)
        if not isinstance(getattr(self.head, "mel", None), MelConfig):
            raise ConfigError(f"head: {type(self.head).__name__} sets no `mel`: give it the MelConfig of its targets in its constructor")
        self.vocoder = made("vocoder", vocoder, self.head.mel).requires_grad_(False)  # no loss of this model reaches it
        if getattr(self.vocoder, "mel", None) != self.head.mel:
            raise ConfigError(
                f"vocoder: {type(self.vocoder).__name__} inverts {getattr(self.vocoder, 'mel', 'nothing (it sets no `mel`)')}, and the "
                f"speech head gives {self.head.mel}: set model.head.init_args.mel to the vocoder's (or set `self.mel = mel`)"
            )
        require_waveform(self.vocoder)
        self.prefix_attention = prefix_attention
        self.text_mark = text_mark
        self.prompt_rate_hz = encoder.sample_rate_hz
        self.speech_rate_hz = self.head.mel.sample_rate_hz

    def encode(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts (B, S) to the LM's prefix (B, U, D) and (B,) valid steps."""
        features, num_steps = self.encoder.encode_for_model(waveform, num_samples)
        return self.project(features), num_steps

    def forward(self, batch: SpeechBatch) -> TeacherForced:
        """Predict text and speech of a batch from their true past."""
        prefix, prefix_steps = self.encode(batch.prompt, batch.prompt_num_samples)
        texts = [self.text_mark.join(pair) for pair in zip(batch.prompt_text, batch.continuation_text, strict=True)]
        text_inputs, text_targets, text_valid = self.language_model.text_sequence(texts)
        with torch.no_grad():
            speech = self.head.targets(batch.continuation, batch.continuation_num_samples)
        speech_inputs = self.speech_inputs(speech)
        prefix_valid = ~padding_mask(prefix_steps, prefix.shape[1])
        speech_valid = ~padding_mask(speech.num_steps, speech_inputs.shape[1])
        inputs = torch.cat([prefix, self.language_model.embed(text_inputs), speech_inputs.to(prefix.dtype)], dim=1)
        hidden = self.read(inputs, torch.cat([prefix_valid, text_valid, speech_valid], dim=1), prefix.shape[1])
        _, text_hidden, speech_hidden = hidden.split([prefix.shape[1], text_inputs.shape[1], speech_inputs.shape[1]], dim=1)
        logits = self.language_model.logits(text_hidden)
        return TeacherForced(prefix, prefix_steps, logits, text_targets, text_valid, speech_hidden, speech)

    def speech_inputs(self, speech: SpeechTargets) -> Tensor:
        """LM inputs of the speech, ``eos`` and all steps but the last: (B, K, D)."""
        start = torch.full((len(speech.steps), 1), self.language_model.eos_id, device=speech.steps.device)
        return torch.cat([self.language_model.embed(start), self.head.embed(speech.steps[:, :-1])], dim=1)

    def read(self, inputs: Tensor, valid: Tensor, prefix_length: int) -> Tensor:
        """Run the LM over a whole sequence (B, L, D), the first ``prefix_length`` places being the prompt: hidden (B, L, D).

        Raises:
            DataError: if the sequence is longer than the LM's positions.
        """
        require_positions(self.language_model, valid)
        visible = visibility(valid, inputs.shape[1])
        if self.prefix_attention == "both_ways":
            visible[:, :prefix_length, :prefix_length] = visibility(valid[:, :prefix_length], prefix_length, both_ways=True)
        positions = (valid.long().cumsum(1) - 1).clamp(min=0)
        return self.language_model(inputs, visible, positions)[0]

    def losses(self, predicted: TeacherForced) -> dict[str, LossTerm]:
        """``text`` in nats a token, and the head's own terms, ``speech`` among them."""
        text = text_cross_entropy(predicted.text_logits, predicted.text_targets, predicted.text_valid)
        speech = self.head.loss(predicted.speech_hidden, predicted.speech_targets)
        if "speech" not in speech:
            raise ConfigError(
                f"model.head: the loss of {type(self.head).__name__} gives {', '.join(speech) or 'nothing'} and no `speech`, the weighted "
                "whole that training minimises: add that key"
            )
        return {"text": text, **speech}

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Write the transcript and its continuation, and speak the latter, for every prompt of a batch."""
        clock = [time.perf_counter()]
        prefix, prefix_steps = self.encode(prompts.waveform, prompts.num_samples)
        state = DecodingState(self.language_model, len(prompts.ids), prefix.device)
        valid = ~padding_mask(prefix_steps, prefix.shape[1])
        state.extend(prefix, valid, both_ways=self.prefix_attention == "both_ways")
        clock.append(time.perf_counter())
        texts = self.language_model.detokenize(decode_text(state, decoding, prompts.ids))
        clock.append(time.perf_counter())
        steps, num_steps, stopped = decode_speech(state, self.head, decoding, prompts.ids)
        mel, num_frames = self.head.spectrogram(steps, num_steps)
        clock.append(time.perf_counter())
        waveform, num_samples = self.vocoder(mel, num_frames)
        clock.append(time.perf_counter())
        stages = ("encode", "text", "speech", "vocode")
        transcript, continuation = self.split_texts(texts)
        return Continuation(
            ids=prompts.ids,
            text=texts,
            transcript=transcript,
            continuation_text=continuation,
            waveform=waveform,
            num_samples=num_samples,
            sample_rate_hz=self.speech_rate_hz,
            mel=mel,
            num_frames=num_frames,
            stopped=stopped,
            timings={name: end - begin for name, begin, end in zip(stages, clock[:-1], clock[1:], strict=True)},
        )

    def split_texts(self, texts: list[str]) -> tuple[list[str] | None, list[str] | None]:
        """Transcripts and continuations of whole texts; None where no mark stands between them."""
        mark = self.text_mark.strip()
        if not mark:
            return None, None
        halves = [text.partition(mark) for text in texts]
        return [before.strip() for before, _, _ in halves], [after.strip() for _, _, after in halves]


def made(part: str, build: Callable[[Any], Part], given: Any) -> Part:
    """A part that is built with what another one says.

    Raises:
        ConfigError: where its class takes no such argument.
    """
    try:
        return build(given)
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        what = "the language model's width" if part == "head" else "the speech head's MelConfig"
        raise ConfigError(f"{part}: its class has to take {what} as its first argument ({error})") from error
