"""The joined model: batch against single, padding, prefix attention, decoding against teacher forcing, stop rules."""

from functools import partial

import pytest
import torch

from spectron.audio.mel import MelConfig
from spectron.batch import SpeechBatch
from spectron.contracts import Decoding
from spectron.encoders import ConformerEncoder, ConformerSettings
from spectron.errors import ConfigError, DataError
from spectron.heads import MelRegressionHead, PreNetSettings
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.model import SpectronModel
from spectron.vocoders import GriffinLimVocoder, VocosSettings, VocosVocoder

FAMILIES = {
    "llama": {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2},
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}


VOCODER = partial(GriffinLimVocoder, iterations=2)


def tiny_model(folder, family="llama", mark=" | ", attention="both_ways", vocoder=VOCODER, **lm):
    text = folder / "text.txt"
    text.write_text("what is the capital of france\nthe capital of france is paris\n")
    torch.manual_seed(4)
    return SpectronModel(
        ConformerEncoder(ConformerSettings(width=32, layers=2, heads=2, feedforward=64, kernel=5)),
        CausalLanguageModel(config={**FAMILIES[family], **lm}, tokenizer=TokenizerSettings(str(text), 300)),
        partial(MelRegressionHead, mel=MelConfig(mel_bins=20), frames_per_step=4, pre_net=PreNetSettings(bottleneck=16)),
        vocoder,
        attention,
        mark,
    ).eval()


def ragged_batch() -> SpeechBatch:
    torch.manual_seed(5)
    return SpeechBatch(
        ids=["a", "b", "c"],
        prompt=torch.randn(3, 16000) * 0.1,
        prompt_num_samples=torch.tensor([16000, 9011, 4777]),
        prompt_text=["what is the capital", "paris", "is"],
        continuation=torch.randn(3, 12000) * 0.1,
        continuation_num_samples=torch.tensor([12000, 6500, 0]),
        continuation_text=["of france is paris", "", "is is is"],
    )


def row(batch: SpeechBatch, i: int) -> SpeechBatch:
    prompt, speech = int(batch.prompt_num_samples[i]), int(batch.continuation_num_samples[i])
    return SpeechBatch(
        ids=[batch.ids[i]],
        prompt=batch.prompt[i : i + 1, :prompt],
        prompt_num_samples=batch.prompt_num_samples[i : i + 1],
        prompt_text=[batch.prompt_text[i]],
        continuation=batch.continuation[i : i + 1, :speech],
        continuation_num_samples=batch.continuation_num_samples[i : i + 1],
        continuation_text=[batch.continuation_text[i]],
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_a_batch_are_those_of_its_rows(family, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    with torch.no_grad():
        whole = model.losses(model(batch))
        rows = [model.losses(model(row(batch, i))) for i in range(3)]
    for name, term in whole.items():
        assert float(term.total) == pytest.approx(sum(float(r[name].total) for r in rows), rel=1e-4), name
        assert int(term.count) == sum(int(r[name].count) for r in rows), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_is_decoded_as_its_rows_are(family, temperature, tmp_path):
    model, batch = tiny_model(tmp_path, family), ragged_batch()
    decoding = Decoding(max_text_tokens=7, max_seconds=1.0, temperature=temperature)
    whole = model.continue_speech(batch.prompts, decoding)
    for i in range(3):
        alone = model.continue_speech(row(batch, i).prompts, decoding)
        frames = int(alone.num_frames[0])
        assert alone.text[0] == whole.text[i]
        assert frames == int(whole.num_frames[i])
        assert bool(alone.stopped[0]) == bool(whole.stopped[i])
        torch.testing.assert_close(whole.mel[i, :frames], alone.mel[0, :frames], atol=1e-3, rtol=1e-3)


def test_decoding_says_what_teacher_forcing_predicts(tmp_path):
    """Fed with its own output, the cached decoder's states are those of one pass over the whole sequence."""
    model, batch = tiny_model(tmp_path), row(ragged_batch(), 0)
    model.head.pre_net.settings.dropout_at_inference = False
    decoding = Decoding(max_text_tokens=6, max_seconds=0.5, stop_threshold=1.1)
    said = model.continue_speech(batch.prompts, decoding)
    lm = model.language_model
    with torch.no_grad():
        prefix, _ = model.encode(batch.prompt, batch.prompt_num_samples)
        tokens: list[int] = []
        for _ in range(6):
            inputs = torch.cat([prefix, lm.embed(torch.tensor([[lm.sos_id, *tokens]]))], dim=1)
            hidden = model.read(inputs, torch.ones(inputs.shape[:2], dtype=torch.bool), prefix.shape[1])
            tokens.append(int(lm.logits(hidden[:, -1]).argmax()))
            if tokens[-1] == lm.eos_id:
                break
        text = [token for token in tokens if token != lm.eos_id]
        assert lm.detokenize([text]) == said.text
        steps = said.mel.unflatten(1, (-1, 4)).flatten(2)
        start = lm.embed(torch.tensor([[lm.sos_id, *text]]))
        speech = torch.cat([lm.embed(torch.tensor([[lm.eos_id]])), model.head.embed(steps[:, :-1])], dim=1)
        inputs = torch.cat([prefix, start, speech], dim=1)
        hidden = model.read(inputs, torch.ones(inputs.shape[:2], dtype=torch.bool), prefix.shape[1])
        torch.testing.assert_close(model.head.predict(hidden[:, -steps.shape[1] :]), steps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("attention", "sees_the_future"), [("causal", False), ("both_ways", True)])
def test_prefix_attention_switch(attention, sees_the_future, tmp_path):
    model = tiny_model(tmp_path, attention=attention)
    inputs = torch.randn(1, 8, 32)
    changed = inputs.clone()
    changed[0, 4] += 1.0  # the last place of a prefix of 5
    valid = torch.ones(1, 8, dtype=torch.bool)
    with torch.no_grad():
        before, after = model.read(inputs, valid, 5), model.read(changed, valid, 5)
    assert bool((before[0, 0] - after[0, 0]).abs().max() > 1e-4) == sees_the_future
    later = inputs.clone()
    later[0, 6] += 1.0  # text never reaches back
    with torch.no_grad():
        torch.testing.assert_close(model.read(later, valid, 5)[0, :6], before[0, :6])


def test_stop_rules(tmp_path):
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    never = model.continue_speech(prompts, Decoding(max_text_tokens=2, max_seconds=0.5, stop_threshold=1.1))
    assert not never.stopped.any()
    assert never.num_frames.tolist() == [40, 40, 40]
    at_once = model.continue_speech(prompts, Decoding(max_text_tokens=2, max_seconds=0.5, min_seconds=0.2, stop_threshold=0.0))
    assert at_once.stopped.all()
    assert at_once.num_frames.tolist() == [16, 16, 16]
    assert at_once.num_samples.tolist() == [3200, 3200, 3200]


def test_sampling_depends_on_seed_and_id_alone(tmp_path):
    model, prompts = tiny_model(tmp_path), ragged_batch().prompts
    texts = [model.continue_speech(prompts, Decoding(6, 0.2, temperature=1.0, top_k=20, seed=seed)).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_texts_split_at_the_mark_only(tmp_path):
    model = tiny_model(tmp_path)
    assert model.split_texts(["what is it | a cow", "no mark"]) == (["what is it", "no mark"], ["a cow", ""])
    assert tiny_model(tmp_path, mark=" ").split_texts(["what is it"]) == (None, None)


def test_a_sequence_beyond_the_positions_is_refused(tmp_path):
    model = tiny_model(tmp_path, max_position_embeddings=40)
    with pytest.raises(DataError, match="does not fit the language model's 40"):
        model(ragged_batch())


def test_the_vocoder_is_frozen(tmp_path):
    model = tiny_model(tmp_path, vocoder=partial(VocosVocoder, vocos=VocosSettings(width=8, layers=1, feedforward=8)))
    assert all(parameter.requires_grad for parameter in model.head.parameters())
    assert not any(parameter.requires_grad for parameter in model.vocoder.parameters())


class OwnRate(GriffinLimVocoder):
    def __init__(self, mel):
        super().__init__(MelConfig(sample_rate_hz=22050, mel_bins=20))


class NoArgument(GriffinLimVocoder):
    def __init__(self):
        super().__init__(MelConfig())


@pytest.mark.parametrize(
    ("vocoder", "said"), [(OwnRate, "^vocoder: OwnRate inverts .*22050"), (NoArgument, "^vocoder: its class has to take")]
)
def test_a_vocoder_of_another_spectrogram_is_refused(tmp_path, vocoder, said):
    with pytest.raises(ConfigError, match=said):
        tiny_model(tmp_path, vocoder=vocoder)


class Shortened(GriffinLimVocoder):
    """Cuts what is given back; ``keep`` says how much of waveform and count is left."""

    def __init__(self, mel, keep):
        super().__init__(mel, iterations=1)
        self.keep = keep

    def forward(self, mel, num_frames):
        return self.keep(*super().forward(mel, num_frames))


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (
            lambda wave, count: (wave[:, :-1], count),
            r"makes 2399 samples of 12 frames and counts \[2400, 1400\] .* Make mel.hop_samples=200 of",
        ),
        (
            lambda wave, count: (wave[:, ::2], count // 2),
            r"counts \[1200, 700\] .* last \[2400, 1400\]: .* too short. Make mel.hop_samples=200 of",
        ),
        (
            lambda wave, count: (wave, count * 0.5),
            r"gives .* \(2,\) of torch.float32 for 2 rows of frames. Return waveform \(B, S\) and whole",
        ),
        (lambda wave, count: wave, r"gives a Tensor. Return the pair waveform"),
    ],
)
def test_a_vocoder_that_does_not_speak_as_long_as_its_frames_is_refused_when_built(tmp_path, keep, said):
    with pytest.raises(ConfigError, match=f"^vocoder: Shortened: forward {said}"):
        tiny_model(tmp_path, vocoder=partial(Shortened, keep=keep))
    tiny_model(tmp_path, vocoder=partial(Shortened, keep=lambda wave, count: (wave[:, :-399], count - 399)))  # less than two hops


def test_a_loss_without_its_whole_is_told(tmp_path, monkeypatch):
    model = tiny_model(tmp_path)
    monkeypatch.setattr(model.head, "loss", lambda hidden, targets: {"frames": None})
    with pytest.raises(ConfigError, match=r"^model\.head: .*gives frames and no `speech`"):
        model.losses(model(ragged_batch()))
