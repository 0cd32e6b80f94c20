"""Chains of stages: what reaches the next stage, how long it speaks, and which chains are refused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_spectron import ragged_batch, tiny_model

from spectron.audio.mel import MelConfig
from spectron.batch import select
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError
from spectron.evaluation.systems import Stage, StagedSpeech, staged
from spectron.heads import FlatCodeHead, Sampling, UnitHead
from spectron.segments import CodeContext, SequenceSettings
from spectron.tokenizers import UnitTokenizer
from spectron.tokenizers.codebooks import write_codebooks
from spectron.vocoders import CentroidMel, CodeVocoder, GriffinLimVocoder

MEL = MelConfig(n_mels=20)
DECODING = Decoding(max_seconds=0.5, min_seconds=0.2)


@pytest.fixture
def codes(tmp_path):
    """Return a function that makes a tokenizer of some levels; ``stack`` frames of 12.5 ms are one frame of codes."""

    def make(stack=4, seed=7, mel=MEL, **levels):
        books = 3 * torch.randn(3, 8, stack * mel.n_mels, generator=torch.Generator().manual_seed(seed))
        file = write_codebooks(books, tmp_path / f"books{stack}-{seed}")
        return UnitTokenizer(FrameStackEncoder(stack=stack, mel=mel), str(file), **levels)

    return make


def vocoder_of(tokenizer):
    to_mel = partial(CentroidMel, tokenizer=tokenizer)
    return partial(CodeVocoder, to_mel=to_mel, vocoder=partial(GriffinLimVocoder, iterations=2))


def stage_of(folder, head, tokenizer, text="none", **context):
    segments = {name: partial(CodeContext, tokenizer=codes, stage=name) for name, codes in context.items()}
    torch.manual_seed(5)
    return tiny_model(
        folder,
        encoder=None,
        head=partial(head, tokenizer=tokenizer, sampling=Sampling(0.0)),
        vocoder=vocoder_of(tokenizer),
        sequence=SequenceSettings(prompt="steps", context=segments, text=text),
    ).eval()


@pytest.fixture
def stages(tmp_path, codes):
    """Return a semantic, a coarse and a fine stage of random weights, at 20 and 10 frames a second."""
    return {
        "semantic": stage_of(tmp_path, UnitHead, codes(levels=1)),
        "coarse": stage_of(tmp_path, FlatCodeHead, codes(8, levels=1), semantic=codes(levels=1)),
        "fine": stage_of(tmp_path, FlatCodeHead, codes(8, skip_levels=1), coarse=codes(8, levels=1)),
    }


@pytest.fixture
def chain(stages, codes, monkeypatch):
    """Return a function that chains some of the stages."""

    def make(*names, changed=(), **more):
        models = stages | dict(changed)
        monkeypatch.setattr(staged, "_loaded", lambda name, stage: models[stage.model])
        if len(names) > 2 and "tokenizer" not in more:
            more |= {"tokenizer": codes(8), "vocoder": vocoder_of(codes(8))}
        return StagedSpeech({name: Stage(name) for name in names}, **more).eval()

    return make


@pytest.mark.parametrize("names", [("semantic", "coarse"), ("semantic", "coarse", "fine")])
def test_chain_speaks_as_long_as_its_first_stage_and_rows_as_alone(chain, stages, names):
    system, batch = chain(*names), ragged_batch()
    spoken = system.continue_speech(batch.prompts, DECODING)
    first = stages["semantic"].continue_speech(batch.prompts, DECODING)
    assert spoken.num_frames.tolist() == [-(-frames // 2) for frames in first.num_frames.tolist()]
    assert spoken.stopped.tolist() == first.stopped.tolist()
    assert list(spoken.timings) == [*names, "vocode"]
    for row in range(len(batch.ids)):
        one = select(batch, [row])
        one.prompt = one.prompt[:, : int(one.prompt_num_samples[0])]
        alone = system.continue_speech(one.prompts, DECODING)
        count = int(alone.num_samples[0])
        assert count == int(spoken.num_samples[row])
        torch.testing.assert_close(alone.waveform[0, :count], spoken.waveform[row, :count], atol=1e-3, rtol=1e-3)


def test_stages_may_hear_other_sample_rates(chain, stages, codes, tmp_path):
    """A semantic stage at 8 kHz, whose units the coarse stage makes of its own recordings at 16 kHz."""
    low = codes(levels=1, mel=MelConfig(sample_rate_hz=8000, high_hz=4000.0, n_mels=20))
    changed = {
        "semantic": stage_of(tmp_path, UnitHead, low),
        "coarse": stage_of(tmp_path, FlatCodeHead, codes(8, levels=1), semantic=low),
    }
    system, batch = chain("semantic", "coarse", changed=changed), ragged_batch()
    assert (system.prompt_rate_hz, system.speech_rate_hz) == (16000, 16000)
    losses = changed["coarse"].losses(changed["coarse"](batch))
    assert losses["speech"].total.isfinite()
    spoken = system.continue_speech(batch.prompts, replace(DECODING, length="reference"))
    held = batch.continuation_num_samples > 0
    assert torch.equal(spoken.num_samples[held], batch.continuation_num_samples[held])
    heard = system.heard_by(changed["semantic"], batch.prompts)
    assert heard.num_samples.tolist() == [-(-count // 2) for count in batch.prompt_num_samples.tolist()]


def test_texts_of_the_first_stage_are_those_of_the_chain(chain, codes, tmp_path):
    first, batch = stage_of(tmp_path, UnitHead, codes(levels=1), text="before"), ragged_batch()
    decoding = replace(DECODING, max_text_tokens=3)
    spoken = chain("semantic", "coarse", changed={"semantic": first}).continue_speech(batch.prompts, decoding)
    alone = first.continue_speech(batch.prompts, decoding)
    assert spoken.text == alone.text
    assert torch.equal(spoken.text_stopped, alone.text_stopped)


def test_chain_follows_a_reference(chain):
    batch = ragged_batch()
    spoken = chain("semantic", "coarse").continue_speech(batch.prompts, replace(DECODING, length="reference"))
    held = batch.continuation_num_samples > 0
    assert torch.equal(spoken.num_samples[held], batch.continuation_num_samples[held])


def test_prompt_and_earlier_codes_change_what_the_next_stage_predicts(stages):
    """The voice is in the prompt's acoustic codes, and the words are in the semantic ones: both must be read."""
    coarse, batch = stages["coarse"], ragged_batch()
    segment = coarse.segments["semantic"]
    known = segment.tokenized(batch.continuation, batch.continuation_num_samples, 16000)

    def states(prompts, codes):
        given = replace(prompts, stages={"semantic": (codes, known[1])})
        stretches = {
            "prompt": coarse.segments["prompt"].given(given),
            "semantic": segment.given(given),
            "speech": coarse.segments["speech"](batch),
        }
        return coarse.read(stretches)["speech"][0]

    usual = states(batch.prompts, known[0])
    torch.testing.assert_close(coarse(batch).hidden["speech"][0], usual, atol=1e-5, rtol=1e-4)
    other_voice = replace(batch.prompts, waveform=torch.zeros_like(batch.prompt))
    assert (states(other_voice, known[0]) - usual).abs().max() > 1e-3
    assert (states(batch.prompts, (known[0] + 1) % 8) - usual).abs().max() > 1e-3


def test_stage_alone_says_that_it_needs_a_chain(stages):
    with pytest.raises(ConfigError) as raised:
        stages["coarse"].continue_speech(ragged_batch().prompts, DECODING)
    assert raised.value.key == "stage"


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("coarse", "fine"), "stages.coarse"),  # its semantic stage is missing
        (("semantic", "fine", "coarse"), "stages.fine"),  # the wrong order
        (("semantic",), "stages"),
    ],
)
def test_chain_with_a_missing_stage_is_refused(chain, names, key):
    with pytest.raises(ConfigError) as raised:
        chain(*names)
    assert raised.value.key == key


def test_stage_of_another_tokenizer_is_refused_with_both(chain, codes, tmp_path):
    other = stage_of(tmp_path, UnitHead, codes(levels=1, seed=8))
    with pytest.raises(ConfigError) as raised:
        chain("semantic", "coarse", changed={"semantic": other})
    assert raised.value.key == "stages.coarse"
    for tokenizer in (codes(levels=1), codes(levels=1, seed=8)):
        assert tokenizer.fingerprint[:8] in raised.value.message


def test_joined_codes_must_be_those_of_the_tokenizer(chain, codes):
    for wrong in (codes(8, levels=2), codes(8, seed=9)):
        with pytest.raises(ConfigError) as raised:
            chain("semantic", "coarse", "fine", tokenizer=wrong, vocoder=vocoder_of(wrong))
        assert raised.value.key == "tokenizer"
    with pytest.raises(ConfigError) as raised:
        chain("semantic", "coarse", "fine", tokenizer=None)
    assert raised.value.key == "tokenizer"


def test_model_that_is_not_the_pinned_one_is_refused(stages, monkeypatch):
    monkeypatch.setattr(staged, "load_module", stages.__getitem__)
    known = staged.weights_sha256(stages["coarse"])
    assert staged._loaded("coarse", Stage("coarse", known[:8])) is stages["coarse"]
    with pytest.raises(ConfigError) as raised:
        staged._loaded("coarse", Stage("semantic", known[:8]))
    assert raised.value.key == "stages.coarse.weights"


def test_pairs_are_scored_by_the_first_stage(chain, stages):
    batch = ragged_batch()
    scores = chain("semantic", "coarse").score_speech(batch)
    torch.testing.assert_close(scores.speech_loss, stages["semantic"].score_speech(batch).speech_loss)
