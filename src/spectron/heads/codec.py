"""Heads of the codes of several codebooks: one code a step, delayed codebooks, or a small network within a step.

Sources: AudioLM (arXiv:2209.03143) speaks flat codes, MusicGen (arXiv:2306.05284) delays codebook q by q steps, and
RQ-Transformer (arXiv:2203.01941) predicts the codes of a frame one after another with a small network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectron.audio.codes import PADDING
from spectron.audio.mel import padding_mask
from spectron.batch import LossTerm, SpeechTargets
from spectron.decoding import Sampling
from spectron.heads.code import NEVER, SAMPLING, CodeHead, Compared, compared, unless_stopping
from spectron.randomness import RowRandom
from spectron.ranges import Size, checks_ranges
from spectron.tokenizers.tables import embedded, small_table
from spectron.tokenizers.tokenizer import SpeechTokenizer


class CodecHead(CodeHead):
    """Base of the heads whose only loss is the cross-entropy of their codes."""

    @abstractmethod
    def compare(self, hidden: Tensor, targets: SpeechTargets) -> list[Compared]:
        """Compare the codes of steps with their prediction from hidden states (B, K, D), one code of a step each."""

    def loss(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, LossTerm]:
        """Compute ``codes``, nats a code with the stop, ``code_accuracy``, and ``speech``, which is ``codes``."""
        found = self.compare(hidden, targets)
        count = torch.stack([each.counted.sum() for each in found]).sum()
        return {name: LossTerm(values.sum(), count) for name, values in _by_step(found).items()}

    def step_losses(self, hidden: Tensor, targets: SpeechTargets) -> dict[str, Tensor]:
        """Compute the ``loss`` at each step (B, K)."""
        return _by_step(self.compare(hidden, targets))


@checks_ranges
class FlatCodeHead(CodecHead):
    """Speech head that speaks the Q codes of a frame one after another, a code a step.

    Each codebook has rows of its own, and a step chooses among the rows of the codebook whose turn it is. The stop can
    be chosen where a new frame begins.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        tokenizer: Makes the codes.
        sampling: Settings of the choice of the next code.
    """

    allowed: Tensor
    offsets: Tensor

    def __init__(self, hidden_size: Size, tokenizer: SpeechTokenizer, sampling: Sampling = SAMPLING) -> None:
        super().__init__(tokenizer, sampling)
        sizes = torch.tensor(self.format.sizes)
        self.books, self.stop = len(sizes), int(sizes.sum())
        ends = sizes.cumsum(0)
        rows = torch.arange(self.stop + 1)
        # allowed (Q, rows): the rows of each turn.
        allowed = (rows >= (ends - sizes)[:, None]) & (rows < ends[:, None])
        allowed[0, self.stop] = True
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("offsets", ends - sizes, persistent=False)
        self.inputs = small_table(self.stop + 1, hidden_size)
        self.outputs = nn.Linear(hidden_size, self.stop + 1)

    @property
    def steps_per_second(self) -> float:
        """Steps in a second of speech."""
        return self.format.rate_hz * self.books

    def history(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech as steps (B, K, 1), rows of the codes in turn, and (B,) valid steps."""
        codes, num_frames = self.codes(waveform, num_samples)
        return (codes + self.offsets).flatten(1)[..., None], num_frames * self.books

    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Tokenize speech (B, S), and add the stop; an empty recording has no step."""
        steps, num_steps = self.history(waveform, num_samples)
        steps = functional.pad(steps, (0, 0, 0, 1)).masked_fill(
            padding_mask(num_steps, steps.shape[1] + 1)[..., None], self.stop
        )
        return SpeechTargets(steps, num_steps + (num_steps > 0), num_steps // self.books)

    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed steps (B, K, 1) as LM inputs (B, K, D)."""
        return self.inputs(steps[..., 0])

    def logits(self, hidden: Tensor, first: int = 0) -> Tensor:
        """Compute the logits (B, K, rows) of steps from number ``first`` on; rows of other turns are -inf."""
        return self.outputs(hidden).float().masked_fill(~self.allowed[self.turns(hidden, first)], NEVER)

    def turns(self, hidden: Tensor, first: int = 0) -> Tensor:
        """Return the codebook (K,) of each step from number ``first`` on."""
        return (first + torch.arange(hidden.shape[1], device=hidden.device)) % self.books

    def compare(self, hidden: Tensor, targets: SpeechTargets) -> list[Compared]:
        """Compare the code of each step, the stop included."""
        valid = ~padding_mask(targets.num_steps, hidden.shape[1])
        logits, wanted = self.logits(hidden), targets.steps[..., 0]
        # At padding the stop stands in every turn, where only the first one allows it.
        wanted = torch.where(valid, wanted, self.offsets[self.turns(hidden)])
        return [compared(logits, wanted, valid)]

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next code (B, 1) after a hidden state (B, D); the stop is chosen or not, 1 or 0."""
        logits = self.logits(hidden[:, None], len(past))[:, 0]
        rows = self.chosen(unless_stopping(logits, self.stop, may_stop), random)
        return rows[:, None], (rows == self.stop).float()

    def predicted_steps(self, hidden: Tensor, targets: SpeechTargets) -> Tensor:
        """Predict steps (B, K, 1) from hidden states (B, K, D), each from its own state."""
        return self.logits(hidden).argmax(-1)[..., None]

    def frames_in(self, step: Tensor, index: int) -> Tensor:
        """Return 1 for the last code of a frame (B,)."""
        return ((step[:, 0] != self.stop) & (index % self.books == self.books - 1)).long()

    def most_steps(self, frames: int) -> int:
        """Return a bound of the steps: one for each code, and the stop."""
        return frames * self.books + 1

    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Convert steps (B, K, 1) to codes (B, T, Q), -1 at padding, and count (B,) whole frames."""
        valid = ~padding_mask(num_steps, steps.shape[1]) & (steps[..., 0] != self.stop)
        num_frames = valid.sum(1) // self.books
        whole = steps.shape[1] // self.books
        codes = steps[:, : whole * self.books, 0].unflatten(1, (whole, self.books)) - self.offsets
        return codes.masked_fill(padding_mask(num_frames, whole)[..., None], PADDING), num_frames


@checks_ranges
class DelayCodeHead(CodecHead):
    """Speech head that predicts one code of each codebook a step; codebook q is q steps late.

    In each codebook, two more codes stand before the first frame and after the last one. Codebook 0 chooses the end,
    and the others follow step by step, so that every code of the last frames is predicted. The additional steps do not
    count as frames.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        tokenizer: Makes the codes.
        sampling: Settings of the choice of the next codes.
    """

    before: Tensor
    after: Tensor

    def __init__(self, hidden_size: Size, tokenizer: SpeechTokenizer, sampling: Sampling = SAMPLING) -> None:
        super().__init__(tokenizer, sampling)
        self.books = len(self.format.sizes)
        self.register_buffer("before", torch.tensor(self.format.sizes), persistent=False)
        self.register_buffer("after", torch.tensor(self.format.sizes) + 1, persistent=False)
        self.inputs = nn.ModuleList(small_table(size + 2, hidden_size) for size in self.format.sizes)
        # Only codebook 0 chooses an end.
        self.outputs = nn.ModuleList(
            nn.Linear(hidden_size, size + (1 if book == 0 else 0)) for book, size in enumerate(self.format.sizes)
        )
        self.end = self.format.sizes[0]  # row of the end among the outputs of codebook 0

    @property
    def steps_per_second(self) -> float:
        """Steps in a second of speech, without the delay."""
        return self.format.rate_hz

    def delayed(self, codes: Tensor, num_frames: Tensor) -> Tensor:
        """Delay codes (B, T, Q) with (B,) valid frames as steps (B, T + Q, Q)."""
        width = codes.shape[1] + self.books
        steps = torch.arange(width, device=codes.device)
        rows = []
        for book in range(self.books):
            moved = functional.pad(codes[..., book], (book, self.books - book))
            at_end = steps >= num_frames[:, None] + book
            rows.append(
                moved.masked_fill(at_end, int(self.after[book])).masked_fill(steps < book, int(self.before[book]))
            )
        return torch.stack(rows, dim=2)

    def history(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech as steps (B, K, Q), up to the last code of the last codebook, and (B,) valid steps."""
        codes, num_frames = self.codes(waveform, num_samples)
        return self.delayed(codes, num_frames), num_frames + (self.books - 1) * (num_frames > 0)

    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Tokenize speech (B, S); in the last step all codebooks have ended; an empty recording has no step."""
        codes, num_frames = self.codes(waveform, num_samples)
        return SpeechTargets(self.delayed(codes, num_frames), num_frames + self.books * (num_frames > 0), num_frames)

    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed steps (B, K, Q) as LM inputs (B, K, D), the sum over codebooks."""
        return embedded(self.inputs, steps)

    def compare(self, hidden: Tensor, targets: SpeechTargets) -> list[Compared]:
        """Compare the codes of each step, the end of codebook 0 included.

        What follows from the delay and from the end of codebook 0 is not predicted and does not count.
        """
        valid = ~padding_mask(targets.num_steps, hidden.shape[1])
        found = []
        for book, output in enumerate(self.outputs):
            codes, ended = targets.steps[..., book], targets.steps[..., book] == self.after[book]
            wanted = codes.masked_fill(ended, self.end)
            chosen = (codes < self.before[book]) | (ended & (ended.cumsum(1) == 1) & (book == 0))
            logits = output(hidden).float()
            found.append(compared(logits, wanted.clamp(max=logits.shape[2] - 1), valid & chosen))
        return found

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the next codes (B, Q) after a hidden state (B, D); 1 where all codebooks have ended.

        Whether a codebook has begun or ended follows from the codebook before it in the step before.
        """
        first = self.chosen(unless_stopping(self.outputs[0](hidden).float(), self.end, may_stop), random)
        ended = first == self.end
        if past:
            ended = ended | (past[-1][:, 0] == self.after[0])
        step = [first.masked_fill(ended, int(self.after[0]))]
        for book in range(1, self.books):
            codes = self.chosen(self.outputs[book](hidden).float(), random)
            leader = past[-1][:, book - 1] if past else self.before[book - 1]
            codes = codes.masked_fill(leader == self.after[book - 1], int(self.after[book]))
            step.append(codes.masked_fill(leader == self.before[book - 1], int(self.before[book])))
        chosen = torch.stack(step, dim=1)
        return chosen, (chosen[:, -1] == self.after[-1]).float()

    def predicted_steps(self, hidden: Tensor, targets: SpeechTargets) -> Tensor:
        """Predict steps (B, K, Q) from hidden states (B, K, D); where nothing is predicted, the true ones."""
        guesses = [
            output(hidden).argmax(-1).clamp(max=int(self.before[book]) - 1) for book, output in enumerate(self.outputs)
        ]
        return torch.where(targets.steps < self.before, torch.stack(guesses, dim=2), targets.steps)

    def frames_in(self, step: Tensor, index: int) -> Tensor:
        """Return 1 where the last codebook has a code: with it a frame is complete (B,)."""
        return (step[:, -1] < self.before[-1]).long()

    def most_steps(self, frames: int) -> int:
        """Return a bound of the steps: the frames, the delay and the end."""
        return frames + self.books

    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the delay of steps (B, K, Q): codes (B, T, Q), -1 at padding, and (B,) complete frames."""
        valid = ~padding_mask(num_steps, steps.shape[1])
        num_frames = (valid & (steps[..., -1] < self.before[-1])).sum(1)
        whole = max(steps.shape[1] - self.books + 1, 0)
        codes = torch.stack([steps[:, book : book + whole, book] for book in range(self.books)], dim=2)
        return codes.masked_fill(padding_mask(num_frames, whole)[..., None], PADDING), num_frames


@checks_ranges
class DepthCodeHead(CodecHead):
    """Speech head that predicts a whole frame a step: a small recurrent network chooses its codes one after another.

    Args:
        hidden_size: Width D of the LM (supplied by the platform).
        tokenizer: Makes the codes.
        depth_width: Width of the small network.
        sampling: Settings of the choice of the next codes.
    """

    def __init__(
        self, hidden_size: Size, tokenizer: SpeechTokenizer, depth_width: Size = 256, sampling: Sampling = SAMPLING
    ) -> None:
        super().__init__(tokenizer, sampling)
        sizes = self.format.sizes
        self.stop = sizes[0]  # in codebook 0 alone
        self.inputs = nn.ModuleList(small_table(size + (book == 0), hidden_size) for book, size in enumerate(sizes))
        self.enter = nn.Linear(hidden_size, depth_width)
        self.within = nn.ModuleList(small_table(size, depth_width) for size in sizes[:-1])
        self.cell = nn.GRUCell(depth_width, depth_width)
        self.outputs = nn.ModuleList(nn.Linear(depth_width, size + (book == 0)) for book, size in enumerate(sizes))

    def history(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Tokenize speech as steps (B, K, Q), the frames, and (B,) valid steps."""
        return self.codes(waveform, num_samples)

    def targets(self, waveform: Tensor, num_samples: Tensor) -> SpeechTargets:
        """Tokenize speech (B, S), and add the stop; an empty recording has no step."""
        codes, num_frames = self.codes(waveform, num_samples)
        steps = functional.pad(codes, (0, 0, 0, 1))
        past_end = padding_mask(num_frames, steps.shape[1])
        steps = torch.cat([steps[..., :1].masked_fill(past_end[..., None], self.stop), steps[..., 1:]], dim=2)
        return SpeechTargets(steps, num_frames + (num_frames > 0), num_frames)

    def embed(self, steps: Tensor, random: RowRandom | None = None) -> Tensor:
        """Embed steps (B, K, Q) as LM inputs (B, K, D), the sum over codebooks."""
        return embedded(self.inputs, steps)

    def compare(self, hidden: Tensor, targets: SpeechTargets) -> list[Compared]:
        """Compare the codes of each step, the stop included."""
        valid = ~padding_mask(targets.num_steps, hidden.shape[1])
        content = valid & (targets.steps[..., 0] != self.stop)
        state, found = self.enter(hidden).flatten(0, 1), []
        for book, output in enumerate(self.outputs):
            wanted = targets.steps[..., book]
            logits = output(state).float().unflatten(0, wanted.shape)
            found.append(compared(logits, wanted, valid if book == 0 else content))
            if book < len(self.within):
                state = self.cell(self.within[book](wanted.flatten().clamp(max=self.format.sizes[book] - 1)), state)
        return found

    def step(
        self,
        hidden: Tensor,
        random: RowRandom | None = None,
        past: Sequence[Tensor] = (),
        may_stop: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Choose the codes (B, Q) of the next frame after a hidden state (B, D); the stop is chosen or not, 1 or 0."""
        state, step = self.enter(hidden), []
        for book, output in enumerate(self.outputs):
            logits = output(state).float()
            step.append(self.chosen(unless_stopping(logits, self.stop, may_stop) if book == 0 else logits, random))
            if book < len(self.within):
                state = self.cell(self.within[book](step[-1].clamp(max=self.format.sizes[book] - 1)), state)
        return torch.stack(step, dim=1), (step[0] == self.stop).float()

    def frames_in(self, step: Tensor, index: int) -> Tensor:
        """Return 1 for a frame, 0 for the stop (B,)."""
        return (step[:, 0] != self.stop).long()

    def most_steps(self, frames: int) -> int:
        """Return a bound of the steps: one for each frame, and the stop."""
        return frames + 1

    def vocoder_input(self, steps: Tensor, num_steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames of steps (B, K, Q) as codes (B, T, Q), -1 at padding, and count (B,) valid frames."""
        num_frames = (~padding_mask(num_steps, steps.shape[1]) & (steps[..., 0] != self.stop)).sum(1)
        return steps.masked_fill(padding_mask(num_frames, steps.shape[1])[..., None], PADDING), num_frames


def _by_step(found: list[Compared]) -> dict[str, Tensor]:
    """Add up the codes of each step, (B, K)."""
    nats, right = (torch.stack(values).sum(0) for values in zip(*((c.nats, c.right) for c in found), strict=True))
    return {"codes": nats, "code_accuracy": right.float(), "speech": nats}
