"""Unit head: runs, the stop, likelihood, and what refuses the codes of another tokenizer."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from tiny_spectron import ragged_batch, tiny_model

from spectron.audio.codes import PADDING, CodeFormat
from spectron.audio.mel import MelConfig
from spectron.batch import SpeechTargets
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.errors import CheckpointError, ConfigError, DataError
from spectron.heads import Sampling, UnitHead
from spectron.randomness import RowRandom
from spectron.segments import SequenceSettings
from spectron.tokenizers import SpeechTokenizer, UnitTokenizer
from spectron.tokenizers.codebooks import write_codebooks
from spectron.vocoders import CentroidMel, CodeVocoder, GriffinLimVocoder, UnitToMel, VocosSettings

WIDTH, CODES = 16, 5
MEL = MelConfig(n_mels=20)


class Given(SpeechTokenizer):
    """Tokenizer whose codes are the samples, at 100 Hz."""

    sample_rate_hz, rate_hz, sizes = 100, 100.0, (CODES,)

    def encode(self, waveform):
        return waveform.long()[:, None]


def head(**settings):
    torch.manual_seed(0)
    return UnitHead(WIDTH, Given(), **settings)


def padded(rows):
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row).float() for row in rows], True), lengths


def random_rows(seed, longest=9):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, longest, (4,), generator=generator).tolist()
    # Few units, so that runs are long, and unit 0, the value of padding, is among them.
    return [torch.randint(0, 2, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("dedup", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_runs_give_back_all_frames_and_never_merge_with_padding(seed, dedup):
    rows, units = random_rows(seed), head(dedup=dedup)
    targets = units.targets(*padded(rows))
    frames, num_frames = units.vocoder_input(targets.steps, targets.num_steps)
    assert num_frames.tolist() == targets.num_frames.tolist() == [len(row) for row in rows]
    for row, found in zip(rows, frames, strict=True):
        assert found[:, 0].tolist() == row + [PADDING] * (frames.shape[1] - len(row))
        changes = sum(one != other for one, other in pairwise(row))
        steps = (changes + 1 if dedup else len(row)) if row else -1
        assert int(targets.num_steps[rows.index(row)]) == steps + 1


def test_history_has_no_stop_and_targets_end_with_it():
    units, given = head(), padded([[3, 3, 1], [0]])
    steps, num_steps = units.history(*given)
    assert steps[0].tolist() == [[3, 2], [1, 1]]
    assert num_steps.tolist() == [2, 1]
    targets = units.targets(*given)
    assert targets.steps[0, 2].tolist() == [CODES, 0]
    assert targets.steps[1, 1].tolist() == [CODES, 0]
    assert units.stop_unit not in range(CODES)


def test_codes_loss_is_the_negative_log_likelihood():
    units = head()
    targets = SpeechTargets(torch.tensor([[[3, 2], [1, 1], [CODES, 0]]]), torch.tensor([3]), torch.tensor([3]))
    hidden = torch.randn(1, 3, WIDTH)
    nats = -sum(float(units.outputs(hidden[0, step]).log_softmax(-1)[unit]) for step, unit in enumerate([3, 1, CODES]))
    terms = units.loss(hidden, targets)
    assert float(terms["codes"].total) == pytest.approx(nats, rel=1e-5)
    assert int(terms["codes"].count) == 3
    assert float(units.step_losses(hidden, targets)["codes"][0, 2]) == pytest.approx(
        -float(units.outputs(hidden[0, 2]).log_softmax(-1)[CODES]), rel=1e-5
    )
    predicted = units.log_run(hidden, targets.steps[..., 0])[0]
    run = float((predicted[0] - torch.tensor(2.0).log()).square() + predicted[1].square())
    assert float(terms["run"].total) == pytest.approx(run, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_stop_is_chosen_only_where_a_row_may_stop(temperature):
    units = head(sampling=Sampling(temperature))
    with torch.no_grad():
        units.outputs.bias[units.stop_unit] = 200.0
    may_stop = torch.tensor([True, False] * 20)
    random = RowRandom(0, [str(row) for row in range(40)])
    steps, stop = units.step(torch.randn(40, WIDTH), random, (), may_stop)
    assert torch.equal(stop == 1, may_stop)
    assert torch.equal(steps[:, 0] == units.stop_unit, may_stop)
    assert (steps[~may_stop, 1] >= 1).all()
    assert not units.frames_in(steps, 0)[may_stop].any()


def test_top_k_samples_among_the_most_probable():
    units = head(sampling=Sampling(5.0, top_k=2))
    hidden = torch.randn(1, WIDTH).expand(200, -1)
    drawn = units.step(hidden, RowRandom(0, [str(row) for row in range(200)]))[0][:, 0].unique()
    assert set(drawn.tolist()) == set(units.outputs(hidden[0]).topk(2).indices.tolist())


def test_several_codebooks_are_refused():
    class Two(Given):
        sizes = (CODES, CODES)

    with pytest.raises(ConfigError) as raised:
        UnitHead(WIDTH, Two())
    assert raised.value.key == "tokenizer"


def test_weights_of_another_tokenizer_are_refused():
    class Other(Given):
        VERSION = 2

    with pytest.raises(CheckpointError):
        UnitHead(WIDTH, Other()).load_state_dict(head().state_dict())


def tokenizer(folder, seed=7):
    generator = torch.Generator().manual_seed(seed)
    books = 3 * torch.randn(1, 16, 4 * MEL.n_mels, generator=generator)
    return UnitTokenizer(FrameStackEncoder(stack=4, mel=MEL), str(write_codebooks(books, folder / f"books{seed}")))


def unit_model(folder, text="none", **settings):
    units = tokenizer(folder)
    vocoder = partial(
        CodeVocoder, to_mel=partial(CentroidMel, tokenizer=units), vocoder=partial(GriffinLimVocoder, iterations=2)
    )
    return tiny_model(
        folder,
        encoder=None,
        head=partial(UnitHead, tokenizer=units, sampling=Sampling(0.0), **settings),
        vocoder=vocoder,
        sequence=SequenceSettings(prompt="steps", text=text, text_separator=" | "),
    )


@pytest.mark.parametrize(("text", "dedup"), [("none", True), ("none", False), ("before", True)])
def test_overfitted_units_are_spoken_again(tmp_path, text, dedup):
    model, batch = unit_model(tmp_path, text, dedup=dedup, run_weight=1.0), ragged_batch()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        losses = model.losses(model(batch))
        loss = losses["speech"].mean + (losses["text"].mean if text == "before" else 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    spoken = model.continue_speech(batch.prompts, Decoding(max_seconds=2.0, min_seconds=0.0))
    targets = model.head.targets(batch.continuation, batch.continuation_num_samples)
    true, num_frames = model.head.vocoder_input(targets.steps, targets.num_steps)
    assert spoken.num_frames.tolist()[:2] == num_frames.tolist()[:2]
    waveform, _ = model.vocoder(true[:1], num_frames[:1])
    length = int(spoken.num_samples[0])
    torch.testing.assert_close(spoken.waveform[0, :length], waveform[0, :length])
    assert spoken.stopped[:2].all()


def test_speech_is_never_longer_than_its_limit_in_seconds(tmp_path):
    model, batch = unit_model(tmp_path, longest_run=7).eval(), ragged_batch()
    with torch.no_grad():
        model.head.run_net[-1].bias.fill_(2.0)
    spoken = model.continue_speech(batch.prompts, Decoding(max_seconds=0.6, stop_threshold=1.1))
    assert set(spoken.num_frames.tolist()) == {12}  # 0.6 s at 20 Hz, whatever the runs are


def test_prompt_shorter_than_a_unit_is_refused_by_name(tmp_path):
    model, batch = unit_model(tmp_path), ragged_batch()
    prompts = batch.prompts
    prompts.num_samples = torch.tensor([8000, 0, 8000])
    with pytest.raises(DataError, match=prompts.ids[1]):
        model.continue_speech(prompts, Decoding())


def test_encoder_that_nothing_reads_is_refused(tmp_path):
    with pytest.raises(ConfigError) as raised:
        tiny_model(tmp_path, sequence=SequenceSettings(prompt="steps"))
    assert raised.value.key == "sequence.prompt"


def test_code_beyond_the_codebook_is_refused_with_its_place(tmp_path):
    given = CodeFormat(16000, 20.0, (4, 3), "00")
    codes = torch.zeros(2, 5, 2, dtype=torch.long)
    codes[1, 3, 1] = 3
    with pytest.raises(DataError, match=r"code 3 at frame 3 of row 1 .* codebook 1"):
        given.require_within(codes, torch.tensor([5, 5]))
    given.require_within(codes, torch.tensor([5, 3]))


def test_vocoder_of_another_tokenizer_is_refused_with_both(tmp_path):
    one, other = tokenizer(tmp_path), tokenizer(tmp_path, seed=8)
    with pytest.raises(ConfigError, match=f"{other.fingerprint[:8]}.*{one.fingerprint[:8]}"):
        CentroidMel(one.format, other)
    size = VocosSettings(width=8, layers=1, feedforward=8)
    UnitToMel(other.format, MEL, size).save(tmp_path / "trained")
    assert UnitToMel(other.format, source=str(tmp_path / "trained")).mel == MEL
    with pytest.raises(ConfigError, match=f"{other.fingerprint[:8]}.*{one.fingerprint[:8]}"):
        UnitToMel(one.format, source=str(tmp_path / "trained"))
