"""Segment of the speech: the steps of the speech head, with scheduled sampling and alignment losses."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from spectron.audio.mel import MelConfig, padding_mask
from spectron.batch import LossTerm, Prompts, SpeechBatch, SpeechTargets, SpokenLength, Word, row_of
from spectron.contracts import SpeechHead
from spectron.decoding import Decoding
from spectron.errors import ConfigError
from spectron.generation import DecodingState, Spoken
from spectron.losses import ALIGNMENT_LOSSES, frame_level_targets, token_cross_entropy
from spectron.randomness import RowRandom
from spectron.ranges import Proportion, checks_ranges
from spectron.segments.places import Place, Places
from spectron.segments.segment import Parts, Positions, Segment, Stretch


@dataclass
class SpeechStretch(Stretch):
    """Inputs of speech; the hidden states predict ``targets``, in which ``words`` are spoken."""

    targets: SpeechTargets
    words: list[list[Word]]


@checks_ranges
class Speech(Segment):
    """Speech steps of the head: ``eos, steps``, which predict the steps.

    Args:
        parts: Parts of the model (supplied by the platform).
        scheduled_sampling: Fraction of the utterances that read the model's own predictions of the past frames in
            training. Such frames are blurred, like those that it reads at inference. Costs a second pass without
            gradients (Mihaylova and Martins 2019, arXiv:1906.07651).
    """

    def __init__(self, parts: Parts, scheduled_sampling: Proportion = 0.0) -> None:
        super().__init__(parts)
        self.scheduled_sampling = scheduled_sampling
        self.parts.head  # noqa: B018 - built here, so that random weights are drawn in the order of the sequence

    @property
    def head(self) -> SpeechHead:
        """Speech head of the model."""
        return self.parts.head

    @property
    def trained_losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """Loss of the head and the alignment losses."""
        return ("speech", *self.optional_losses)

    @property
    def optional_losses(self) -> tuple[str, ...]:  # type: ignore[override]
        """Alignment losses, for steps of equal length."""
        return () if self.head.steps_per_second is None else tuple(ALIGNMENT_LOSSES)

    @property
    def reads_twice(self) -> bool:  # type: ignore[override]
        """Two readings in training if some utterances follow predicted frames."""
        return self.scheduled_sampling > 0

    def forward(self, batch: SpeechBatch) -> SpeechStretch:
        """Return the true past of the continuation."""
        with torch.no_grad():
            targets = self.head.targets(batch.continuation, batch.continuation_num_samples)
        words = batch.continuation_words or [[] for _ in batch.ids]
        valid = ~padding_mask(targets.num_steps, targets.steps.shape[1])
        return SpeechStretch(self.embedded(targets.steps), valid, targets, words)

    def embedded(self, past: Tensor) -> Tensor:
        """Embed the start of the speech and the past steps (B, K, F), without the last one, as (B, K, D)."""
        return torch.cat([self.start(len(past), past.device), self.head.embed(past[:, :-1])], dim=1)

    def start(self, rows: int, device: torch.device) -> Tensor:
        """Embed the token that starts the speech, the end of the text, as (B, 1, D)."""
        lm = self.parts.language_model  # the hidden state of this token predicts the first step
        return lm.embed(torch.full((rows, 1), lm.eos_id, device=device))

    def second_reading(self, stretch: Stretch, hidden: Tensor) -> SpeechStretch:
        """Replace the past steps of some rows by the predicted ones."""
        known = cast(SpeechStretch, stretch)
        with torch.no_grad():
            true, own = known.targets.steps, self.head.predicted_steps(hidden, known.targets)
            past = torch.where(torch.rand(len(true), 1, 1, device=true.device) < self.scheduled_sampling, own, true)
        return replace(known, embeddings=self.embedded(past))

    def losses(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> dict[str, LossTerm]:
        """Compute the head's losses, of which ``speech`` is the weighted total, and alignment losses.

        The ``optional`` losses (see ``losses/alignment.py``), in nats per step, are the cross-entropy of the language
        model's guess, at every step, of the token being spoken. Only steps within words of known times count.
        """
        known = cast(SpeechStretch, stretch)
        aligned = self.alignment(known, hidden, optional).items()
        return self.head.loss(hidden, known.targets) | {
            name: LossTerm(nats.sum(), said.sum()) for name, (nats, said) in aligned
        }

    def alignment(
        self, stretch: SpeechStretch, hidden: Tensor, names: Collection[str]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute alignment losses of each step (B, K), and which steps (B, K) count; those of ``names`` alone."""
        names, rate = [name for name in self.optional_losses if name in names], self.head.steps_per_second
        if not names or rate is None:
            return {}
        lm, found = self.parts.language_model, {}
        logits, length = lm.logits(hidden), (hidden.shape[1], rate)
        for name in names:
            ids, inside = frame_level_targets(lm, stretch.words, *length, ALIGNMENT_LOSSES[name])
            said = inside.to(hidden.device) & stretch.valid
            found[name] = (token_cross_entropy(logits, ids.to(hidden.device), said), said)
        return found

    def places(self, stretch: Stretch, hidden: Tensor, optional: Collection[str] = ()) -> Places:
        """Describe the steps by number and time in the continuation, with the losses that the head has by step."""
        known = cast(SpeechStretch, stretch)
        aligned = {name: nats for name, (nats, _) in self.alignment(known, hidden, optional).items()}
        rows = [self.places_of(steps) for steps in known.targets.steps]
        return Places(rows, self.head.step_losses(hidden, known.targets) | aligned)

    def places_of(self, steps: Tensor) -> list[Place]:
        """Describe the positions of one row, given its target steps (K, F)."""
        places, read, begin, rate = [], "start of speech", 0.0, self.head.format.frame_rate_hz
        for index, step in enumerate(steps):
            end = begin + int(torch.as_tensor(self.head.frames_in(step[None], index))) / rate
            # Codes are numbers that mean something to a reader; frames of a spectrogram do not.
            codes = "" if step.is_floating_point() else f": {' '.join(map(str, step.tolist()))}"
            places.append(Place(read, f"step {index}{codes}", "continuation", begin, end))
            read, begin = f"step {index}{codes}", end
        return places

    @torch.no_grad()
    def loss_names(self) -> set[str]:
        """Return the names of all losses; the head's are read from its losses of half a second of silence."""
        head, device = self.head, next(self.parts.language_model.parameters()).device
        silence = torch.zeros(1, head.format.sample_rate_hz // 2, device=device)
        with torch.random.fork_rng(devices=[]):
            targets = head.targets(silence, torch.tensor([silence.shape[1]], device=device))
            hidden = torch.zeros(*targets.steps.shape[:2], self.parts.language_model.hidden_size, device=device)
            return {*head.loss(hidden, targets), *self.optional_losses}

    def scores(self, stretch: Stretch, hidden: Tensor) -> dict[str, Tensor]:
        """Compute each row's negative log-likelihood, or the loss ``speech`` without one, and its frames."""
        # One row at a time through the loss itself: in every head, a batch's loss is a sum over its rows.
        targets, name = cast(SpeechStretch, stretch).targets, self.head.likelihood or "speech"
        rows = [self.head.loss(hidden[row : row + 1], row_of(targets, row)) for row in range(len(hidden))]
        return {
            "speech_loss": torch.stack([terms[name].total for terms in rows]),
            "speech_frames": targets.num_frames,
        }

    def spectrogram(self, stretch: Stretch, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
        """Predict the log-mel (B, T, M) from the true past, if the head's format is one."""
        if not isinstance(self.head.format, MelConfig):
            return None
        targets = cast(SpeechStretch, stretch).targets
        mel, _ = self.head.vocoder_input(self.head.predicted_steps(hidden, targets), targets.num_steps)
        return mel, targets.num_frames

    def decode(self, state: DecodingState, prompts: Prompts, decoding: Decoding) -> None:
        """Speak until the stop probability or ``max_seconds``, or as long as the reference.

        A row that follows its reference has exactly its number of samples, and ignores the stop probability.
        """
        speaking = Speaking(self.head, prompts, decoding)
        inputs = self.start(len(prompts.ids), state.keys.device)
        while True:
            inputs = speaking.step(state.extend(inputs, speaking.alive[:, None])[:, 0])
            if not speaking.alive.any():  # the one wait for the device in a step: only the rows know when to stop
                break
        state.speech = speaking.spoken()

    def positions(self, length: SpokenLength, decoding: Decoding | None = None) -> Positions:
        """Bound the speech steps."""
        seconds = most_seconds(length, decoding)
        frames = math.ceil(seconds * self.head.format.frame_rate_hz) + 1 if seconds else 0
        return Positions(self.head.most_steps(frames), limits=("max_seconds",))


class Speaking:
    """Speech of a batch in decoding, step by step.

    A row with a reference speaks until its steps contain it. The other rows speak until their stop probability or the
    longest duration.

    Attributes:
        alive: Rows (B,) that go on.

    Raises:
        ConfigError: if ``decoding.length`` asks for a reference that the prompts lack.
    """

    def __init__(self, head: SpeechHead, prompts: Prompts, decoding: Decoding) -> None:
        self.head, self.stop_threshold, rate = head, decoding.stop_threshold, head.format.frame_rate_hz
        self.random = RowRandom(decoding.seed, [f"speech:{row}" for row in prompts.ids])
        self.reference = reference_samples(prompts, decoding)
        reference_frames = head.format.num_frames(self.reference)
        self.held = reference_frames > 0
        most = max(round(decoding.max_seconds * rate), 1)
        self.longest = torch.where(self.held, reference_frames, most)
        self.shortest = round(decoding.min_seconds * rate)
        self.alive = torch.ones_like(self.held)
        self.stopped = self.held.clone()
        self.num_steps = torch.zeros_like(self.reference)
        self.num_frames = torch.zeros_like(self.reference)
        self.past: list[Tensor] = []

    def step(self, hidden: Tensor) -> Tensor:
        """Predict the next step of all rows from hidden states (B, D), and return it as LM inputs (B, 1, D)."""
        may_stop = ~self.held & (self.num_frames >= self.shortest)
        values, stop = self.head.step(hidden, self.random, self.past, may_stop)
        self.num_frames = self.num_frames + self.alive * self.head.frames_in(values, len(self.past))
        self.num_steps = self.num_steps + self.alive
        self.past.append(values)
        self.stopped = self.stopped | (self.alive & (self.num_frames >= self.shortest) & ~(stop < self.stop_threshold))
        self.alive = self.alive & (self.held | ~self.stopped) & (self.num_frames < self.longest)
        return self.head.embed(values[:, None], self.random)

    def spoken(self) -> Spoken:
        """Return the speech, at most as long as its reference or the longest duration: a last step may reach beyond."""
        content, num_frames = self.head.vocoder_input(torch.stack(self.past, dim=1), self.num_steps)
        return Spoken(content, torch.minimum(num_frames, self.longest), self.stopped, self.reference)


def most_seconds(length: SpokenLength, decoding: Decoding | None) -> float:
    """Return the longest duration of the speech after a prompt, in training or in decoding."""
    seconds = length.continuation_seconds
    free = decoding is not None and (decoding.length == "free" or not seconds)
    return decoding.max_seconds if decoding is not None and free else seconds


def reference_samples(prompts: Prompts, decoding: Decoding) -> Tensor:
    """Return the number of samples that each row has to speak, (B,); 0 for a free row.

    Raises:
        ConfigError: if ``decoding.length`` asks for a reference that the prompts lack.
    """
    if decoding.length == "free":
        return torch.zeros_like(prompts.num_samples)
    if prompts.speech_num_samples is None:
        raise ConfigError(
            "reference needs the lengths of true continuations, and these prompts have none. Give "
            "Prompts.speech_num_samples, or set length to free",
            key="decoding.length",
            allowed=["free"],
        )
    return prompts.speech_num_samples


def held_to(reference: Tensor, lengths: Tensor) -> Tensor:
    """Cut lengths (B,) to those of the reference, if a row has one: a last step or frame may reach beyond it."""
    return torch.where(reference > 0, torch.minimum(lengths, reference), lengths)
