"""Checks of language models, heads and vocoders: each fails for the part that breaks its rule."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from spectron.audio.mel import MelConfig
from spectron.batch import LossTerm
from spectron.conformance import examine, malformed
from spectron.contracts import LanguageModel, Vocoder
from spectron.heads import MelRegressionHead

MEL = MelConfig(n_mels=20)


class Characters(LanguageModel):
    """Language model that obeys every rule: one layer of attention over bytes; it computes the past again."""

    def __init__(self, width=16):
        super().__init__()
        self.hidden_size, self.max_positions, self.sos_id, self.eos_id = width, 64, 256, 257
        self.table, self.places = nn.Embedding(258, width), nn.Embedding(64, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def tokenize(self, texts):
        rows = [torch.tensor(list(text.encode()), dtype=torch.long) for text in texts]
        return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])

    def detokenize(self, ids):
        return [bytes(i for i in row if i < 256).decode() for row in ids]

    def embed(self, ids):
        return self.table(ids)

    def forward(self, embeddings, attention_mask, positions, cache=None):
        inputs = embeddings + self.places(positions)
        past = inputs if cache is None else torch.cat([cache, inputs], dim=1)
        weights = self.query(inputs) @ self.key(past).transpose(1, 2)
        return weights.masked_fill(~attention_mask, -1e9).softmax(-1) @ past, past

    def logits(self, hidden):
        return hidden @ self.table.weight.T


class LooksAtItself(Characters):
    def forward(self, embeddings, attention_mask, positions, cache=None):
        hidden, past = super().forward(embeddings, attention_mask, positions, cache)
        return hidden.new_zeros(hidden.shape[1], hidden.shape[1]).fill_diagonal_(1) @ embeddings + 0 * hidden, past


class SeesAll(Characters):
    def forward(self, embeddings, attention_mask, positions, cache=None):
        return super().forward(embeddings, torch.ones_like(attention_mask), positions, cache)


class NoPositions(Characters):
    def forward(self, embeddings, attention_mask, positions, cache=None):
        start = 0 if cache is None else cache.shape[1]
        return super().forward(
            embeddings, attention_mask, torch.arange(start, start + embeddings.shape[1]).expand_as(positions), cache
        )


class Forgetful(Characters):
    def forward(self, embeddings, attention_mask, positions, cache=None):
        return super().forward(embeddings, attention_mask[..., -embeddings.shape[1] :], positions)


class Upper(Characters):
    def tokenize(self, texts):
        return super().tokenize([text.upper() for text in texts])


class Parsed(Characters):
    def tokenize(self, texts):
        ids, counts = super().tokenize(texts)
        ends = [text == "<eos>" for text in texts]
        return ids.masked_fill(torch.tensor(ends)[:, None], self.eos_id), counts


class Marked(Characters):
    def tokenize(self, texts):
        return super().tokenize([text + "." for text in texts])


class Beyond(Characters):
    def __init__(self):
        super().__init__()
        self.eos_id = 300


class Narrow(Characters):
    def __init__(self):
        super().__init__()
        self.hidden_size = 8

    def logits(self, hidden):
        return hidden.new_zeros(*hidden.shape[:-1], 258)


class MeanLoss(MelRegressionHead):
    def loss(self, hidden, targets):
        terms = super().loss(hidden, targets)
        return terms | {"speech": LossTerm(terms["speech"].mean, torch.tensor(1))}


class PaddedLoss(MelRegressionHead):
    def loss(self, hidden, targets):
        terms = super().loss(hidden, targets)
        return terms | {"speech": LossTerm(terms["speech"].total + hidden.square().sum(), terms["speech"].count)}


class BatchRandom(MelRegressionHead):
    def embed(self, steps, random=None):
        inputs = super().embed(steps)
        return (
            inputs
            if random is None
            else inputs * torch.rand(len(steps), 1, 1, generator=torch.Generator().manual_seed(0))
        )


class Rough(MelRegressionHead):
    def vocoder_input(self, steps, num_steps):
        mel, num_frames = super().vocoder_input(steps, num_steps)
        return mel.round(), num_frames


class NoTotal(MelRegressionHead):
    def loss(self, hidden, targets):
        return {name: term for name, term in super().loss(hidden, targets).items() if name != "speech"}


class DoubleLoss(MelRegressionHead):
    def loss(self, hidden, targets):
        return {name: term + term for name, term in super().loss(hidden, targets).items()}


class FewSteps(MelRegressionHead):
    def targets(self, waveform, num_samples):
        targets = super().targets(waveform, num_samples)
        targets.num_steps = targets.num_frames // self.frames_per_step
        return targets


class Upsampler(Vocoder):
    """Vocoder that obeys every rule: each frame's mean, held for a hop."""

    def forward(self, mel, num_frames):
        return mel.mean(2).repeat_interleave(self.format.hop_samples, dim=1), num_frames * self.format.hop_samples


class Smeared(Upsampler):
    def forward(self, mel, num_frames):
        return super().forward(mel + mel.roll(-1, dims=1), num_frames)


class FromTheLongest(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio, num_samples.max().expand_as(num_samples)


class ByTheBatch(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio / len(mel), num_samples


class NeedsTwo(Upsampler):
    def forward(self, mel, num_frames):
        if mel.shape[1] < 2:
            raise RuntimeError("kernel is larger than input")
        return super().forward(mel, num_frames)


class HalfAsLong(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio[:, ::2], num_samples // 2


class LosesTheEnd(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio[:, :-1], num_samples


class FractionOfSamples(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio, num_samples * 0.5


class WaveformAlone(Upsampler):
    def forward(self, mel, num_frames):
        return super().forward(mel, num_frames)[0]


class DropsLessThanTwoHops(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return audio[:, :-399], num_samples - 399


class Stereo(Upsampler):
    def forward(self, mel, num_frames):
        audio, num_samples = super().forward(mel, num_frames)
        return torch.stack([audio, audio], 1), num_samples


BUILD = {
    LanguageModel: lambda kind: kind(),
    MelRegressionHead: lambda kind: kind(16, MEL, 3),
    Vocoder: lambda kind: kind(MEL),
}


def results(kind):
    build = next(build for contract, build in BUILD.items() if issubclass(kind, contract))
    return {result.name: result for result in examine(build(kind), lambda: build(kind), seconds=0.2)}


@pytest.mark.parametrize("kind", [Characters, MelRegressionHead, Upsampler])
def test_sound_part_passes(kind):
    failed = {name: result.detail for name, result in results(kind).items() if result.passed is False}
    assert not failed


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (Upper, "text", r"'paris', ''\] become \['THE COW"),
        (Parsed, "text", "'<eos>' becomes the token"),
        (Marked, "text", "an empty text has 1 tokens"),
        (Beyond, "text", "token 300 is outside the 258 logits"),
        (Narrow, "shapes", r"hidden_size is 8, but embed returns \(3, 16, 16\)"),
        (SeesAll, "padding", "obey `attention_mask`"),
        (SeesAll, "bidirectional", "a position attends to a later one"),
        (LooksAtItself, "bidirectional", "no position attends to a later one that is visible"),
        (NoPositions, "batch against single", "obey `attention_mask` and `positions`"),
        (Forgetful, "cache", "position by position"),
        (
            FewSteps,
            "shapes",
            r"row 0 has 80 frames, but its 26 steps contain 78 by frames_in",
        ),
        (Rough, "vocoder input", "vocoder_input returns another spectrogram"),
        (PaddedLoss, "padding", "noise at padded steps changes the loss"),
        (DoubleLoss, "batch against single", "the sum of step_losses of .* is not its total"),
        (NoTotal, "shapes", "loss returns .*stop and no `speech`"),
        (MeanLoss, "batch against single", "return sums and counts"),
        (BatchRandom, "random rows", "draw from `random`"),
        (Stereo, "shapes", r"not \(B, S\)"),
        (LosesTheEnd, "shapes", "16000 valid samples of 15999: return one hop of samples"),
        (FractionOfSamples, "shapes", r"num_samples is \(3,\) of torch.float32, not \(B,\) integers"),
        (WaveformAlone, "shapes", r"forward returns a tensor .* Return the pair waveform \(B, S\), num_samples"),
        (FromTheLongest, "lengths", r"16000 \(16000\), 16000 \(10673\)"),
        (
            HalfAsLong,
            "lengths",
            r"8000 \(16000\).*: return one hop of samples for each valid frame.*is 200 samples\), or give",
        ),
        (Smeared, "padding", "noise in padded frames changes valid samples: mask frames beyond num_frames"),
        (ByTheBatch, "batch against single", "has another waveform in a batch"),
        (NeedsTwo, "short speech", "line .*: RuntimeError: kernel is larger"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_broken_part_fails_the_check_of_its_rule(kind, check, seen):
    found = results(kind)[check]
    assert found.passed is False
    assert re.search(seen, found.detail), found.detail


def test_vocoder_without_parameters_skips_gradient_check():
    assert "gradient or frozen" not in results(Upsampler)


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (Upsampler, None),
        (DropsLessThanTwoHops, None),
        (HalfAsLong, "a hop of the format is 200 samples"),
        (LosesTheEnd, "16000 valid samples of 15999"),
        (WaveformAlone, "Return the pair"),
        (NoTotal, "no `speech`"),
        (Narrow, "hidden_size is 8"),
    ],
)
def test_new_part_is_examined_for_shapes_and_lengths(kind, seen):
    build = next(build for contract, build in BUILD.items() if issubclass(kind, contract))
    found = malformed(build(kind))
    assert found is None if seen is None else seen in found
