"""Heads of several codebooks: arrangements that can be undone, likelihood, masks, and codes spoken again."""

from functools import partial

import pytest
import torch
from tiny_spectron import ragged_batch, tiny_model

from spectron.audio.codes import PADDING
from spectron.audio.mel import MelConfig
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.heads import DelayCodeHead, DepthCodeHead, FlatCodeHead, Sampling, UnitHead
from spectron.randomness import RowRandom
from spectron.segments import SequenceSettings
from spectron.tokenizers import SpeechTokenizer, UnitTokenizer
from spectron.tokenizers.codebooks import write_codebooks
from spectron.vocoders import CentroidMel, CodeVocoder, GriffinLimVocoder

WIDTH = 16
HEADS = [FlatCodeHead, DelayCodeHead, DepthCodeHead]
MEL = MelConfig(n_mels=20)


class Given(SpeechTokenizer):
    """Tokenizer whose codes are digits of the samples, at 100 Hz: sample 0.213 has the codes 2, 1, 3."""

    sample_rate_hz, rate_hz = 100, 100.0

    def __init__(self, books):
        super().__init__()
        self.sizes = tuple(4 + book for book in range(books))

    def encode(self, waveform):
        whole = (waveform.double() * 10 ** len(self.sizes)).round().long()
        digits = [whole // 10 ** (len(self.sizes) - 1 - book) % 10 for book in range(len(self.sizes))]
        return torch.stack(digits, dim=1)


def as_samples(codes):
    """Return the samples of frames of codes."""
    return torch.tensor([sum(code / 10 ** (book + 1) for book, code in enumerate(frame)) for frame in codes])


def random_codes(books, frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, 4 + book, (frames,), generator=generator) for book in range(books)]
    return torch.stack(columns, dim=1).tolist()


def padded(rows):
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence([as_samples(row) for row in rows], batch_first=True), lengths


def head(kind, books=3, **settings):
    torch.manual_seed(0)
    return kind(WIDTH, Given(books), **settings)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("books", [1, 2, 4])
def test_arranged_codes_come_back_for_every_length(kind, books):
    # Also for recordings that are shorter than the largest delay, alone and in a batch.
    rows = [random_codes(books, frames, seed=frames) for frames in (8, 1, 2, 3, 5, 7)]
    codes = head(kind, books)
    targets = codes.targets(*padded(rows))
    found, num_frames = codes.vocoder_input(targets.steps, targets.num_steps)
    assert num_frames.tolist() == targets.num_frames.tolist() == [8, 1, 2, 3, 5, 7]
    for row, frames in zip(rows, found, strict=True):
        assert frames[: len(row)].tolist() == row
        assert (frames[len(row) :] == PADDING).all()
    for row, count, steps in zip(rows, targets.num_steps.tolist(), targets.steps, strict=True):
        alone = codes.targets(*padded([row]))
        assert torch.equal(alone.steps[0], steps[:count])
        assert count <= codes.most_steps(len(row))
        contained = [int(codes.frames_in(steps[None, step], step)) for step in range(count)]
        assert sum(contained) == len(row)
        assert contained[-1] == 0  # the stop


@pytest.mark.parametrize("kind", HEADS)
def test_history_goes_on_without_a_stop(kind):
    codes, given = head(kind), padded([random_codes(3, 5)])
    steps, num_steps = codes.history(*given)
    targets = codes.targets(*given)
    assert int(num_steps) == int(targets.num_steps) - 1
    assert torch.equal(steps[0, : int(num_steps)], targets.steps[0, : int(num_steps)])
    assert int(codes.vocoder_input(steps, num_steps)[1]) == 5


def test_delayed_codes_by_hand():
    codes = head(DelayCodeHead)
    targets = codes.targets(*padded([[[1, 2, 3], [0, 4, 5]]]))
    begin, end = [4, 5, 6], [5, 6, 7]
    assert targets.steps[0].tolist() == [
        [1, begin[1], begin[2]],
        [0, 2, begin[2]],
        [end[0], 4, 3],
        [end[0], end[1], 5],
        end,
    ]


@pytest.mark.parametrize("kind", HEADS)
def test_each_code_and_one_stop_count_once(kind):
    codes = head(kind)
    targets = codes.targets(*padded([random_codes(3, 6), random_codes(3, 2, 1), []]))
    hidden = torch.randn(*targets.steps.shape[:2], WIDTH)
    assert int(codes.loss(hidden, targets)["codes"].count) == 3 * 8 + 2


def test_flat_likelihood_is_a_softmax_over_the_codes_of_the_turn():
    codes, row = head(FlatCodeHead, 2), random_codes(2, 2)
    targets = codes.targets(*padded([row]))
    hidden = torch.randn(1, 5, WIDTH)
    logits = codes.outputs(hidden[0]).detach()  # rows 0 to 3, 4 to 8, and the stop, 9
    rows = [[0, 1, 2, 3, 9], [4, 5, 6, 7, 8]]
    wanted = [row[0][0], 4 + row[0][1], row[1][0], 4 + row[1][1], 9]
    nats = 0.0
    for step, code in enumerate(wanted):
        turn = rows[step % 2]
        nats -= float(logits[step][turn].log_softmax(0)[turn.index(code)])
    assert float(codes.loss(hidden, targets)["codes"].total) == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("may", [True, False])
def test_free_codes_are_within_their_codebooks_and_stop_only_if_they_may(kind, may):
    codes, rows = head(kind, sampling=Sampling(3.0)), 30
    random, may_stop = RowRandom(0, [str(row) for row in range(rows)]), torch.full((rows,), may)
    past, stopped = [], torch.zeros(rows, dtype=torch.bool)
    lengths = torch.zeros(rows, dtype=torch.long)
    for _ in range(24):
        step, stop = codes.step(torch.randn(rows, WIDTH), random, past, may_stop)
        past.append(step)
        lengths += ~stopped
        stopped = stopped | (stop == 1)
    assert bool(stopped.any()) is may
    found, num_frames = codes.vocoder_input(torch.stack(past, dim=1), lengths)
    codes.format.require_within(found, num_frames)
    assert (num_frames[~stopped] >= 8).all()


@pytest.mark.parametrize("kind", HEADS)
def test_true_steps_that_the_model_would_take_are_chosen_again(kind):
    """Walk through true steps with hidden states that favour them: step and loss agree on what is predicted."""
    codes, row = head(kind, sampling=Sampling(0.0)), random_codes(3, 4)
    targets = codes.targets(*padded([row]))
    hidden = torch.randn(1, int(targets.num_steps), WIDTH, requires_grad=True)
    optimiser = torch.optim.Adam([hidden, *codes.parameters()], 0.05)
    for _ in range(150):
        loss = codes.loss(hidden, targets)["codes"].mean
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    past = []
    last = int(targets.num_steps) - 1  # its other codes, beside the stop, mean nothing
    for number, true in enumerate(targets.steps[0]):
        step, stop = codes.step(hidden[:, number], None, past, torch.tensor([True]))
        assert torch.equal(step[0], true) or number == last
        assert bool(stop) is (number == last)
        past.append(step)
    assert torch.equal(codes.predicted_steps(hidden, targets)[:, :last], targets.steps[:, :last])


def tokenizer(folder, levels=3):
    books = 3 * torch.randn(levels, 8, 8 * MEL.n_mels, generator=torch.Generator().manual_seed(7))
    return UnitTokenizer(FrameStackEncoder(stack=8, mel=MEL), str(write_codebooks(books, folder / "books")))


@pytest.mark.parametrize("kind", HEADS)
def test_overfitted_codes_are_spoken_again_alone_and_in_a_batch(kind, tmp_path):
    codes = tokenizer(tmp_path)
    to_mel, mel_vocoder = partial(CentroidMel, tokenizer=codes), partial(GriffinLimVocoder, iterations=2)
    model = tiny_model(
        tmp_path,
        encoder=None,
        head=partial(kind, tokenizer=codes, sampling=Sampling(0.0)),
        vocoder=partial(CodeVocoder, to_mel=to_mel, vocoder=mel_vocoder),
        sequence=SequenceSettings(prompt="steps", text="none"),
    )
    batch = ragged_batch()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        loss = model.losses(model(batch))["speech"].mean
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    decoding = Decoding(max_seconds=2.0, min_seconds=0.0)
    targets = model.head.targets(batch.continuation, batch.continuation_num_samples)
    true, num_frames = model.head.vocoder_input(targets.steps, targets.num_steps)
    spoken = model.continue_speech(batch.prompts, decoding)
    assert spoken.num_frames.tolist()[:2] == num_frames.tolist()[:2]
    assert spoken.stopped[:2].all()
    for row in range(2):
        said, _ = model.vocoder(true[row : row + 1, : num_frames[row]], num_frames[row : row + 1])
        length = int(spoken.num_samples[row])
        torch.testing.assert_close(spoken.waveform[row, :length], said[0, :length], atol=1e-4, rtol=1e-4)


def test_flat_head_of_one_codebook_has_the_likelihood_of_a_unit_head():
    flat, units = head(FlatCodeHead, 1), head(UnitHead, 1, dedup=False)
    units.outputs.load_state_dict(flat.outputs.state_dict())
    given = padded([random_codes(1, 6), random_codes(1, 2, 1)])
    targets = flat.targets(*given)
    hidden = torch.randn(*targets.steps.shape[:2], WIDTH)
    torch.testing.assert_close(
        flat.loss(hidden, targets)["codes"].total, units.loss(hidden, units.targets(*given))["codes"].total
    )
