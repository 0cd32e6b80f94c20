"""Spectron: a speech encoder's prefix, a language model that writes and then speaks, a speech head, a vocoder.

    positions:   [ prompt encoding (U) | sos, text (N) | eos, speech steps (K - 1) ]
    predicts:                            text, eos       speech steps (K)

Source: arXiv 2305.15255, section 3. No lightning here: inference needs no trainer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn

from spectron.audio.mel import MelConfig, padding_mask
from spectron.batch import Continuation, LossTerm, Prompts, SpeechBatch, SpeechScores, TeacherForced, row_of
from spectron.contracts import (
    FILLER_TOKENS,
    Decoding,
    LanguageModel,
    SpeechEncoder,
    SpeechHead,
    SpokenLanguageModel,
    Vocoder,
)
from spectron.errors import ConfigError, DataError, errors_of_part
from spectron.generation import (
    Chain,
    DecodingState,
    decode_speech,
    filler_tokens,
    held_to,
    reference_samples,
    visibility,
    write_text,
)
from spectron.losses import ALIGNMENT_LOSSES, frame_level_targets, text_cross_entropy
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


class SpectronModel(nn.Module, SpokenLanguageModel):
    """Joins the parts; sizes and rates come from the parts themselves.

    Args:
        encoder: Turns the prompt into features.
        language_model: Reads the projected features and writes text.
        head: Built with the language model's width.
        vocoder: Built with the head's spectrogram settings; it is trained apart, and frozen here.
        prefix_attention: Whether prompt positions see each other ``bidirectional`` (a prefix LM, as in the paper) or are ``causal``.
        text_separator: Written between transcript and continuation; the default, a space, is the paper's "no mark". With a mark such as
            `` | `` the two halves can be told apart in the output.
        chain: What training puts between prompt and speech, and so what stands there when ``Decoding.chain`` is ``trained``: the
            ``written`` transcript and continuation (the paper), ``none``, or ``filler``, tokens that say nothing; see ``generation.py``.
        scheduled_sampling: Share of the utterances whose past frames are, in training, what the model itself makes of the true ones: they blur as
            those that it goes on from at inference do. A second pass, without gradients (Mihaylova and Martins 2019, arXiv:1906.07651).

    Raises:
        ConfigError: if ``scheduled_sampling`` is no share, the prompt should be seen both ways by a language model that cannot look ahead, or the
            parts do not fit each other.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        language_model: LanguageModel,
        head: Callable[[int], SpeechHead],
        vocoder: Callable[[MelConfig], Vocoder],
        prefix_attention: Literal["causal", "bidirectional"] = "bidirectional",
        text_separator: str = " ",
        chain: Literal["written", "none", "filler"] = "written",
        scheduled_sampling: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= scheduled_sampling <= 1:
            raise ConfigError(f"must be from 0 to 1, got {scheduled_sampling}", key="scheduled_sampling")
        if prefix_attention == "bidirectional" and not language_model.bidirectional:
            raise ConfigError(
                "this language model cannot attend to later positions. Set prefix_attention to causal, or take another "
                "language model",
                key="prefix_attention",
            )
        self.encoder = encoder
        self.language_model = language_model
        with errors_of_part("encoder", encoder):
            self.project = nn.Linear(encoder.output_dim, language_model.hidden_size)
        self.head = head(language_model.hidden_size)
        if not isinstance(getattr(self.head, "mel", None), MelConfig):
            raise ConfigError(
                f"{type(self.head).__name__} has no `mel`. Set self.mel in its constructor, to the MelConfig of its targets",
                key="head",
            )
        self.vocoder = vocoder(self.head.mel).requires_grad_(False)  # no loss of this model reaches it
        if getattr(self.vocoder, "mel", None) != self.head.mel:
            raise ConfigError(
                f"{type(self.vocoder).__name__} inverts {getattr(self.vocoder, 'mel', 'nothing (it sets no `mel`)')}, and the "
                f"speech head gives {self.head.mel}. Set model.head.init_args.mel to the vocoder's (or set `self.mel = mel`)",
                key="vocoder",
            )
        require_waveform(self.vocoder)
        self.prefix_attention = prefix_attention
        self.text_separator = text_separator
        self.chain = chain
        self.scheduled_sampling = scheduled_sampling
        self.prompt_rate_hz = encoder.sample_rate_hz
        self.speech_rate_hz = self.head.mel.sample_rate_hz

    def encode(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts (B, S) to the LM's prefix (B, U, D) and (B,) valid steps."""
        features, num_steps = self.encoder.encode_for_model(waveform, num_samples)
        return self.project(features), num_steps

    def forward(self, batch: SpeechBatch) -> TeacherForced:
        """Predict text and speech of a batch from their true past."""
        prefix, prefix_steps = self.encode(batch.prompt, batch.prompt_num_samples)
        text_inputs, text_targets, text_there, text_valid = self.text_of(batch)
        with torch.no_grad():
            speech = self.head.targets(batch.continuation, batch.continuation_num_samples)
        before = torch.cat([prefix, self.language_model.embed(text_inputs)], dim=1)
        valid = torch.cat(
            [
                ~padding_mask(prefix_steps, prefix.shape[1]),
                text_there,
                ~padding_mask(speech.num_steps, speech.steps.shape[1]),
            ],
            dim=1,
        )

        def after(past: Tensor) -> tuple[Tensor, Tensor]:
            inputs = torch.cat([before, self.speech_inputs(past).to(before.dtype)], dim=1)
            hidden = self.read(inputs, valid, prefix.shape[1])
            return hidden[:, prefix.shape[1] : before.shape[1]], hidden[:, before.shape[1] :]

        past = speech.steps
        if self.training and self.scheduled_sampling > 0:
            with torch.no_grad():
                own = self.predicted_steps(after(past)[1])
                past = torch.where(torch.rand(len(past), 1, 1, device=past.device) < self.scheduled_sampling, own, past)
        text_hidden, speech_hidden = after(past)
        logits = self.language_model.logits(text_hidden)
        return TeacherForced(prefix, prefix_steps, logits, text_targets, text_valid, speech_hidden, speech)

    def text_of(self, batch: SpeechBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What stands between prompt and speech: inputs, targets, which places are there, which targets count; each (B, N + 1)."""
        if self.chain == "filler":
            nulls = filler_tokens(self.language_model, len(batch.ids), FILLER_TOKENS, batch.prompt.device)
            there = torch.ones_like(nulls, dtype=torch.bool)
            return nulls, nulls, there, ~there
        pairs = zip(batch.prompt_text, batch.continuation_text, strict=True)
        texts = [self.text_separator.join(pair) if self.chain == "written" else "" for pair in pairs]
        inputs, targets, valid = self.language_model.text_sequence(texts)
        return inputs, targets, valid, valid

    def predicted_steps(self, hidden: Tensor) -> Tensor:
        """What the head makes of hidden states (B, K, D), each by itself: speech steps (B, K, F)."""
        return self.head.step(hidden.flatten(0, 1))[0].unflatten(0, hidden.shape[:2])

    def speech_inputs(self, steps: Tensor) -> Tensor:
        """LM inputs of speech steps (B, K, F), ``eos`` and all of them but the last: (B, K, D)."""
        start = torch.full((len(steps), 1), self.language_model.eos_id, device=steps.device)
        return torch.cat([self.language_model.embed(start), self.head.embed(steps[:, :-1])], dim=1)

    def read(self, inputs: Tensor, valid: Tensor, prefix_length: int) -> Tensor:
        """Run the LM over a whole sequence (B, L, D), the first ``prefix_length`` places being the prompt: hidden (B, L, D).

        Raises:
            DataError: if the sequence is longer than the LM's positions.
        """
        require_positions(self.language_model, valid)
        attention_mask = visibility(valid, inputs.shape[1])
        if self.prefix_attention == "bidirectional":
            attention_mask[:, :prefix_length, :prefix_length] = visibility(
                valid[:, :prefix_length], prefix_length, bidirectional=True
            )
        positions = (valid.long().cumsum(1) - 1).clamp(min=0)
        return self.language_model(inputs, attention_mask, positions)[0]

    def losses(self, predicted: TeacherForced) -> dict[str, LossTerm]:
        """``text`` in nats a token, and the head's own terms, ``speech`` among them."""
        text = text_cross_entropy(predicted.text_logits, predicted.text_targets, predicted.text_valid)
        speech = self.head.loss(predicted.speech_hidden, predicted.speech_targets)
        if "speech" not in speech:
            raise ConfigError(
                f"the loss of {type(self.head).__name__} gives {', '.join(speech) or 'nothing'} and no `speech`, the weighted "
                "sum that training minimises. Add that key",
                key="model.head",
            )
        return {"text": text, **speech}

    @torch.no_grad()
    def speech_loss_names(self) -> set[str]:
        """What the head's losses are called, found by asking for those of a moment of silence."""
        silence = torch.zeros(1, self.head.mel.sample_rate_hz // 2, device=next(self.parameters()).device)
        with torch.random.fork_rng(devices=[]):
            targets = self.head.targets(silence, torch.tensor([silence.shape[1]], device=silence.device))
            hidden = torch.zeros(*targets.steps.shape[:2], self.language_model.hidden_size, device=silence.device)
            return set(self.head.loss(hidden, targets))

    def alignment_losses(
        self, predicted: TeacherForced, batch: SpeechBatch, names: Collection[str]
    ) -> dict[str, LossTerm]:
        """Cross-entropy of the language model naming, at every speech step, the token that is being said, in nats a step.

        Of the steps within words whose times the batch knows; one for each of ``names``, keys of ``ALIGNMENT_LOSSES``: see ``losses/alignment.py``.
        """
        if not names:
            return {}
        hidden = predicted.speech_hidden
        logits = self.language_model.logits(hidden)
        step_rate_hz = self.head.mel.frame_rate_hz / self.head.frames_per_step
        words = batch.continuation_words or [[] for _ in batch.ids]
        spoken = {
            name: frame_level_targets(self.language_model, words, hidden.shape[1], step_rate_hz, ALIGNMENT_LOSSES[name])
            for name in names
        }
        return {
            name: text_cross_entropy(logits, ids.to(hidden.device), said.to(hidden.device))
            for name, (ids, said) in spoken.items()
        }

    @torch.inference_mode()
    def score_speech(self, batch: SpeechBatch) -> SpeechScores:
        """What training would make of each row alone: ``ScoresSpeech``.

        Raises:
            DataError: if a row is longer than the LM's positions.
        """
        predicted = self(batch)
        # Row by row through the losses themselves: those of a batch are sums over its rows, in every head.
        rows = [self.losses(row_of(predicted, row)) for row in range(len(batch.ids))]
        reads = int(
            self.chain == "written"
        )  # without a text there is no more than its end, the same for every candidate
        return SpeechScores(
            text_nats=torch.stack([row["text"].total for row in rows]) * reads,
            text_tokens=torch.stack([row["text"].count for row in rows]) * reads,
            speech_loss=torch.stack([row["speech"].total for row in rows]),
            speech_frames=predicted.speech_targets.num_frames,
        )

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Write the transcript and its continuation, and speak the latter, for every prompt of a batch.

        Text and length are the model's own unless ``decoding.chain`` and ``decoding.length`` say otherwise; a row's length is then that
        of its reference to the sample, and the stop probability of such a row is not looked at.

        Raises:
            ConfigError: if ``decoding`` asks for a reference that the prompts lack.
            DataError: if a prompt leaves no position of the LM to write or to speak in.
        """
        self.require_fits_context(prompts)
        clock = [time.perf_counter()]
        reference = reference_samples(prompts, decoding)
        prefix, prefix_steps = self.encode(prompts.waveform, prompts.num_samples)
        state = DecodingState(self.language_model, len(prompts.ids), prefix.device)
        valid = ~padding_mask(prefix_steps, prefix.shape[1])
        state.extend(prefix, valid, bidirectional=self.prefix_attention == "bidirectional")
        clock.append(time.perf_counter())
        texts = write_text(state, prompts, decoding, self.chain_of(decoding), self.text_separator)
        clock.append(time.perf_counter())
        reference_frames = self.head.mel.num_frames(reference)
        steps, num_steps, stopped = decode_speech(state, self.head, decoding, prompts.ids, reference_frames)
        mel, num_frames = self.head.spectrogram(steps, num_steps)
        num_frames = held_to(reference_frames, num_frames)
        clock.append(time.perf_counter())
        waveform, num_samples = self.vocoder(mel, num_frames)
        clock.append(time.perf_counter())
        stages = ("encode", "text", "speech", "vocode")
        return Continuation(
            ids=prompts.ids,
            text=texts.whole,
            transcript=texts.transcript,
            continuation_text=texts.continuation,
            waveform=waveform,
            num_samples=held_to(reference, num_samples),
            sample_rate_hz=self.speech_rate_hz,
            mel=mel,
            num_frames=num_frames,
            stopped=stopped,
            timings={name: end - begin for name, begin, end in zip(stages, clock[:-1], clock[1:], strict=True)},
        )

    def writes_text(self, decoding: Decoding) -> bool:
        """Whether a text comes between prompt and speech."""
        return self.chain_of(decoding) in ("written", "given")

    def chain_of(self, decoding: Decoding) -> Chain:
        """What comes between prompt and speech: that of the training where ``decoding`` takes nothing away."""
        return self.chain if decoding.chain == "trained" else decoding.chain

    def prompt_steps(self, seconds: float) -> int:
        """Encoder steps of a prompt, at most."""
        return math.ceil(seconds * self.encoder.frame_rate_hz) + 1

    def require_fits_context(self, prompts: Prompts) -> None:
        """Refuse a prompt that leaves no position of the language model, before anything so long is encoded.

        Raises:
            DataError: with the longest prompt that there is room for.
        """
        limit, rate_hz = self.language_model.max_positions, self.encoder.frame_rate_hz
        if limit is None:
            return
        seconds = (prompts.num_samples / self.prompt_rate_hz).tolist()
        for name, length in zip(prompts.ids, seconds, strict=True):
            if self.prompt_steps(length) >= limit:
                raise DataError(
                    f"{name}: a prompt of {length:.1f} s, and this model hears less than {limit / rate_hz:.1f} s (its language model has "
                    f"{limit} positions, and a second takes {rate_hz:g}): cut the recording"
                )
