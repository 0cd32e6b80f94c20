"""Spectron: the features of a prompt, a language model that writes and then speaks, a speech head, and a vocoder.

    positions:   [ prompt encoding (U) | sos, text (N) | eos, speech steps (K - 1) ]
    predicts:                            text, eos       speech steps (K)

Source: arXiv 2305.15255, section 3. This module does not import lightning: inference needs no trainer.
"""

from __future__ import annotations

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
from spectron.ranges import Proportion, checks_ranges


def text_alone(language_model: LanguageModel, texts: list[str]) -> LossTerm:
    """Compute the cross-entropy of a language model on texts without speech, in nats per token, end token included.

    Raises:
        DataError: if a text is longer than the model's positions.
    """
    inputs, targets, valid = language_model.text_sequence(texts)
    limit = language_model.max_positions
    if limit is not None and inputs.shape[1] > limit:
        raise DataError(
            f"a text of {inputs.shape[1]} positions does not fit the language model's {limit}: break long lines, or "
            "use a language model with more positions"
        )
    positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    hidden, _ = language_model(language_model.embed(inputs), visibility(valid, inputs.shape[1]), positions)
    return text_cross_entropy(language_model.logits(hidden), targets, valid)


@checks_ranges
class SpectronModel(nn.Module, SpokenLanguageModel):
    """Spoken language model with four parts.

    It checks how the parts fit together, once, in the constructor. ``spectron.conformance`` examines each part, and
    ``spectron.context_length`` checks whether data fit the language model's positions. ``forward`` checks nothing, and
    never waits for the device.

    Args:
        encoder: Speech encoder of the prompt.
        language_model: Text LM that continues the encoded prompt.
        head: Speech head; the model builds it with the LM's ``hidden_size``.
        vocoder: Vocoder; the model builds it with the head's ``mel``.
        prefix_attention: Whether prompt positions see each other ``bidirectional`` (a prefix LM, as in the paper) or
            are ``causal``.
        text_separator: Text between transcript and continuation. The default, a space, is the paper's "no mark". A mark
            such as `` | `` separates the two halves of the output.
        chain: Text between prompt and speech in training, and in decoding if ``Decoding.chain`` is ``trained``: the
            ``written`` transcript and continuation (the paper), ``none``, or ``filler``, tokens without content.
        scheduled_sampling: Fraction of the utterances that read the model's own predictions of the past frames in
            training. Such frames are blurred, like those that it reads at inference. Costs a second pass without
            gradients (Mihaylova and Martins 2019, arXiv:1906.07651).

    Raises:
        ConfigError: if bidirectional attention is requested of a language model that cannot attend to later positions,
            or if the parts do not fit each other.
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
        scheduled_sampling: Proportion = 0.0,
    ) -> None:
        super().__init__()
        if prefix_attention == "bidirectional" and not language_model.bidirectional:
            raise ConfigError(
                "this language model cannot attend to later positions, whatever its mask says. Set prefix_attention to "
                "causal, or use another language model",
                key="prefix_attention",
                allowed=["causal"],
            )
        self.encoder = encoder
        self.language_model = language_model
        with errors_of_part("encoder", encoder):
            self.project = nn.Linear(encoder.output_dim, language_model.hidden_size)
        self.head = head(language_model.hidden_size)
        if not isinstance(getattr(self.head, "mel", None), MelConfig):
            raise ConfigError(
                f"{type(self.head).__name__} sets no `mel`. Set self.mel to the MelConfig of its targets",
                key="head",
            )
        self.vocoder = vocoder(self.head.mel)
        self.vocoder.requires_grad_(False)  # no loss of this model depends on it
        inverted = getattr(self.vocoder, "mel", "nothing (it sets no `mel`)")
        if inverted != self.head.mel:
            raise ConfigError(
                f"{type(self.vocoder).__name__} inverts {inverted}, but the speech head produces {self.head.mel}. "
                "Set model.head.init_args.mel to the vocoder's (or set `self.mel = mel` in the vocoder)",
                key="vocoder",
            )
        self.prefix_attention = prefix_attention
        self.text_separator = text_separator
        self.chain = chain
        self.scheduled_sampling = scheduled_sampling
        self.prompt_rate_hz = encoder.sample_rate_hz
        self.speech_rate_hz = self.head.mel.sample_rate_hz

    def encode(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode prompts (B, S) as the LM's prefix (B, U, D) with (B,) valid steps."""
        features, num_steps = self.encoder(waveform, num_samples)
        return self.project(features), num_steps

    def forward(self, batch: SpeechBatch) -> TeacherForced:
        """Predict text and speech of a batch from the true past."""
        prefix, prefix_steps = self.encode(batch.prompt, batch.prompt_num_samples)
        text_inputs, text_targets, text_present, text_valid = self.text_of(batch)
        with torch.no_grad():
            speech = self.head.targets(batch.continuation, batch.continuation_num_samples)
        start = torch.full((len(speech.steps), 1), self.language_model.eos_id, device=prefix.device)
        before = torch.cat([prefix, self.language_model.embed(text_inputs)], dim=1)
        valid = torch.cat(
            [
                ~padding_mask(prefix_steps, prefix.shape[1]),
                text_present,
                ~padding_mask(speech.num_steps, speech.steps.shape[1]),
            ],
            dim=1,
        )

        def read_after(past: Tensor) -> tuple[Tensor, Tensor]:
            """Return the hidden states that predict text (B, N + 1, D) and speech (B, K, D), given past steps."""
            spoken = torch.cat([self.language_model.embed(start), self.head.embed(past[:, :-1])], dim=1)
            hidden = self.read(torch.cat([before, spoken.to(before.dtype)], dim=1), valid, prefix.shape[1])
            return hidden[:, prefix.shape[1] : before.shape[1]], hidden[:, before.shape[1] :]

        past = speech.steps
        if self.training and self.scheduled_sampling > 0:
            with torch.no_grad():
                own = self.predicted_steps(read_after(past)[1])
                past = torch.where(torch.rand(len(past), 1, 1, device=past.device) < self.scheduled_sampling, own, past)
        text_hidden, speech_hidden = read_after(past)
        logits = self.language_model.logits(text_hidden)
        return TeacherForced(prefix, prefix_steps, logits, text_targets, text_valid, speech_hidden, speech)

    def text_of(self, batch: SpeechBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the text between prompt and speech, each (B, N + 1).

        Returns:
            Input ids, target ids, which inputs are present, and which targets count.
        """
        if self.chain == "filler":
            fillers = filler_tokens(self.language_model, len(batch.ids), FILLER_TOKENS, batch.prompt.device)
            present = torch.ones_like(fillers, dtype=torch.bool)
            return fillers, fillers, present, ~present
        pairs = zip(batch.prompt_text, batch.continuation_text, strict=True)
        texts = [self.text_separator.join(pair) if self.chain == "written" else "" for pair in pairs]
        inputs, targets, valid = self.language_model.text_sequence(texts)
        return inputs, targets, valid, valid

    def predicted_steps(self, hidden: Tensor) -> Tensor:
        """Predict speech steps (B, K, F) from hidden states (B, K, D), each from its own state."""
        return self.head.step(hidden.flatten(0, 1))[0].unflatten(0, hidden.shape[:2])

    def read(self, inputs: Tensor, valid: Tensor, prefix_length: int) -> Tensor:
        """Run the LM over a whole sequence (B, L, D) with valid positions (B, L), and return hidden states (B, L, D).

        The first ``prefix_length`` positions are the prompt.
        """
        attention_mask = visibility(valid, inputs.shape[1])
        if self.prefix_attention == "bidirectional":
            attention_mask[:, :prefix_length, :prefix_length] = visibility(
                valid[:, :prefix_length], prefix_length, bidirectional=True
            )
        positions = (valid.long().cumsum(1) - 1).clamp(min=0)
        return self.language_model(inputs, attention_mask, positions)[0]

    def losses(self, predicted: TeacherForced) -> dict[str, LossTerm]:
        """Compute ``text`` in nats per token, and the head's losses, of which ``speech`` is the weighted total."""
        text = text_cross_entropy(predicted.text_logits, predicted.text_targets, predicted.text_valid)
        return {"text": text, **self.head.loss(predicted.speech_hidden, predicted.speech_targets)}

    @torch.no_grad()
    def speech_loss_names(self) -> set[str]:
        """Return the names of the head's losses, read from its losses of half a second of silence."""
        silence = torch.zeros(1, self.head.mel.sample_rate_hz // 2, device=next(self.parameters()).device)
        with torch.random.fork_rng(devices=[]):
            targets = self.head.targets(silence, torch.tensor([silence.shape[1]], device=silence.device))
            hidden = torch.zeros(*targets.steps.shape[:2], self.language_model.hidden_size, device=silence.device)
            return set(self.head.loss(hidden, targets))

    def alignment_losses(
        self, predicted: TeacherForced, batch: SpeechBatch, names: Collection[str]
    ) -> dict[str, LossTerm]:
        """Compute the losses ``names`` of ``ALIGNMENT_LOSSES``, in nats per speech step (see ``losses/alignment.py``).

        Each is the cross-entropy of the language model's guess, at every speech step, of the token being spoken. Only
        steps within words of known times count.
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
        """Compute the training losses of each row alone; see ``ScoresSpeech``."""
        predicted = self(batch)
        # One row at a time through the losses themselves: in every head, a batch's loss is a sum over its rows.
        rows = [self.losses(row_of(predicted, row)) for row in range(len(batch.ids))]
        # Without a written text there is only the end token, the same for every candidate.
        has_text = int(self.chain == "written")
        return SpeechScores(
            text_nats=torch.stack([row["text"].total for row in rows]) * has_text,
            text_tokens=torch.stack([row["text"].count for row in rows]) * has_text,
            speech_loss=torch.stack([row["speech"].total for row in rows]),
            speech_frames=predicted.speech_targets.num_frames,
        )

    @torch.inference_mode()
    def continue_speech(self, prompts: Prompts, decoding: Decoding) -> Continuation:
        """Write transcript and continuation of every prompt of a batch, and speak the continuation.

        The model chooses text and length unless ``decoding.chain`` and ``decoding.length`` state otherwise. A row that
        follows its reference has exactly its number of samples, and ignores the stop probability.

        Raises:
            ConfigError: if ``decoding`` asks for a reference that the prompts lack.
        """
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
        """Return whether there is text between prompt and speech."""
        return self.chain_of(decoding) in ("written", "given")

    def chain_of(self, decoding: Decoding) -> Chain:
        """Return the text between prompt and speech; ``trained`` means the model's own ``chain``."""
        return self.chain if decoding.chain == "trained" else decoding.chain
