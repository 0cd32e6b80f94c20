"""Unit head: the next unit by a softmax over the units and the stop, and how long it lasts.

Source: GSLM (arXiv:2102.01192). There the vocoder predicts the lengths of runs; here the head does, so that a vocoder
always gets frames at a fixed rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.codes import PADDING
from spectron.audio.mel import padding_mask
from spectron.batch import LossTerm, SpeechTargets, unpadded
from spectron.decoding import Sampling
from spectron.errors import ConfigError
from spectron.heads.code import SAMPLING, CodeHead, compared, unless_stopping
from spectron.randomness import RowRandom
from spectron.ranges import NonNegative, Size, checks_ranges
from spectron.tokenizers.tables import small_table
from spectron.tokenizers.tokenizer import SpeechTokenizer


@checks_ranges
class UnitHead(CodeHead):
    """Speech head of units. A step is a unit and the number of its frames; the stop is a step of its own.

    Runs of equal units are joined within the utterance, before any padding, so they never merge speech with padding.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        tokenizer: Makes the units; it has one codebook.
        dedup: Whether a step is a whole run of equal units, whose length a small network predicts; otherwise each step
            is one frame.
        tied: Whether a unit has the same vector as input and as output.
        run_weight: Weight of the loss of the lengths, the squared difference of their logarithms.
        longest_run: Longest run in decoding, in frames.
        sampling: Settings of the choice of the next unit.

    Raises:
        ConfigError: if the tokenizer has several codebooks.
    """

    def __init__(
        self,
        hidden_size: Size,
        tokenizer: SpeechTokenizer,
        dedup: bool = True,
        tied: bool = False,
        run_weight: NonNegative = 0.1,
        longest_run: Size = 50,
        sampling: Sampling = SAMPLING,
    ) -> None:
        super().__init__(tokenizer, sampling)
        if len(self.format.sizes) > 1:
            raise ConfigError(
                f"takes units of one codebook, but the tokenizer gives {self.format}. Use a head of codes, such as "
                "FlatCodeHead, or set the tokenizer's levels to 1",
                key="tokenizer",
            )
        self.dedup, self.run_weight, self.longest_run = dedup, run_weight, longest_run
        self.stop_unit = self.format.sizes[0]
        self.inputs = small_table(self.stop_unit + 1, hidden_size)
        self.outputs = nn.Linear(hidden_size, self.stop_unit + 1)
        if tied:
            self.outputs.weight = self.inputs.weight
        self.run_net = nn.Sequential(nn.Linear(2 * hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, 1))
        self.run_net.requires_grad_(dedup)

    @property
    def steps_per_second(self) -> float | None:
        """Steps in a second of speech; None for runs, which have many lengths."""
        return None if self.dedup else self.format.rate_hz

    def history(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech as steps (B, K, 2), each a unit and its frames, and (B,) valid steps."""
        codes, num_frames = self.codes(waveform, num_samples)
        rows = [self.runs(row[:, 0]) for row in unpadded(codes, num_frames)]
        num_steps = torch.tensor([len(row) for row in rows], device=codes.device)
        return pad_sequence(rows, batch_first=True), num_steps

    def runs(self, units: Tensor) -> Tensor:
        """Convert the units (T,) of an utterance to steps (K, 2)."""
        if not self.dedup:
            return torch.stack([units, torch.ones_like(units)], dim=1)
        each, lengths = torch.unique_consecutive(units, return_counts=True)
        return torch.stack([each, lengths], dim=1)

    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Tokenize speech (B, S), and add the stop; an empty recording has no step."""
        steps, num_steps = self.history(waveform, num_samples)
        steps = functional.pad(steps, (0, 0, 0, 1))
        at_end = torch.arange(steps.shape[1], device=steps.device) == num_steps[:, None]
        stop = torch.tensor([self.stop_unit, 0], device=steps.device)
        return SpeechTargets(
            torch.where(at_end[..., None], stop, steps), num_steps + (num_steps > 0), steps[..., 1].sum(1)
        )

    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed the units of steps (B, K, 2) as LM inputs (B, K, D)."""
        return self.inputs(steps[..., 0])

    def loss(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, LossTerm]:
        """Compute ``codes``, nats a step with the stop, ``code_accuracy``, ``run`` and ``speech``."""
        steps = targets.num_steps.sum()
        units = steps - (targets.num_steps > 0).sum()  # all steps but the stops
        return {
            name: LossTerm(values.sum(), units if name == "run" else steps)
            for name, values in self.step_losses(hidden, targets).items()
        }

    def step_losses(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Compute the ``loss`` at each step (B, K)."""
        units, lengths = targets.steps.unbind(-1)
        valid = ~padding_mask(targets.num_steps, hidden.shape[1])
        found = compared(self.outputs(hidden).float(), units, valid)
        off = self.log_run(hidden, units).float() - lengths.clamp(min=1).log()
        run = off.square().masked_fill(~valid | (units == self.stop_unit), 0.0)
        speech = found.nats + self.run_weight * run
        return {"codes": found.nats, "code_accuracy": found.right.float(), "run": run, "speech": speech}

    def log_run(self, hidden: Tensor, units: Tensor) -> Tensor:
        """Predict the logarithm of the frames (...) of units (...) that follow hidden states (..., D)."""
        if not self.dedup:
            return hidden.new_zeros(units.shape)
        return self.run_net(torch.cat([hidden, self.inputs(units)], dim=-1))[..., 0]

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next unit and its frames (B, 2) after a hidden state (B, D); the stop is chosen or not, 1 or 0."""
        units = self.chosen(unless_stopping(self.outputs(hidden).float(), self.stop_unit, may_stop), random)
        stopped = units == self.stop_unit
        frames = self.log_run(hidden, units).float().exp().round().clamp(1, self.longest_run).long()
        return torch.stack([units, frames.masked_fill(stopped, 0)], dim=1), stopped.float()

    def frames_in(self, step: Tensor, index: int) -> Tensor:
        """Return the frames (B,) of a step (B, 2)."""
        return step[:, 1]

    def most_steps(self, frames: int) -> int:
        """Return a bound of the steps: one for each frame, and the stop."""
        return frames + 1

    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat the units of steps (B, K, 2) as frames (B, T, 1), -1 at padding, and count (B,) valid frames."""
        rows = [
            units.repeat_interleave(frames) for units, frames in (row.unbind(1) for row in unpadded(steps, num_steps))
        ]
        num_frames = torch.tensor([len(row) for row in rows], device=steps.device)
        return pad_sequence(rows, batch_first=True, padding_value=PADDING)[..., None], num_frames
