"""One test a contract; every implementation in the packages is found by itself and must be in TINY, at a size that tests can afford."""

import importlib
import pkgutil
from collections.abc import Callable

import pytest
import torch
from speech_encoders import write_speech_encoder
from torch import nn

from spectron import encoders, heads, language_models, vocoders
from spectron.audio.mel import MelConfig
from spectron.contracts import LanguageModel, SpeechEncoder, SpeechHead, Vocoder
from spectron.encoders import ConformerEncoder, ConformerSettings, FrameStackEncoder, PretrainedEncoder
from spectron.generation import DecodingState, visibility
from spectron.heads import MelRegressionHead
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.randomness import RowRandom
from spectron.vocoders import GriffinLimVocoder

WIDTH = 32
MEL = MelConfig(mel_bins=20)
CONFORMER = ConformerSettings(width=WIDTH, layers=2, heads=2, feedforward=64, kernel=5)
LLAMA = {"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_language_model(folder):
    text = folder / "text.txt"
    text.write_text("the cow says moo\nthe capital of france is paris\n")
    return CausalLanguageModel(config=dict(LLAMA), tokenizer=TokenizerSettings(str(text), 300))


TINY: dict[type, Callable] = {
    ConformerEncoder: lambda folder: ConformerEncoder(CONFORMER),
    FrameStackEncoder: lambda folder: FrameStackEncoder(WIDTH),
    PretrainedEncoder: lambda folder: PretrainedEncoder(str(write_speech_encoder("wav2vec2", folder / "encoder")), layer="weighted"),
    CausalLanguageModel: tiny_language_model,
    MelRegressionHead: lambda folder: MelRegressionHead(WIDTH, MEL, frames_per_step=3),
    GriffinLimVocoder: lambda folder: GriffinLimVocoder(MEL, iterations=4),
}


def implementations(contract: type) -> list[type]:
    for package in (encoders, language_models, heads, vocoders):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found, queue = [], [contract]
    while queue:
        subclasses = queue.pop().__subclasses__()
        queue += subclasses
        found += [c for c in subclasses if c.__module__.startswith("spectron.")]
    assert found, f"no implementation of {contract.__name__}"
    return sorted(found, key=lambda c: c.__name__)


def every(contract: type):
    return pytest.mark.parametrize("kind", implementations(contract), ids=lambda kind: kind.__name__)


def build(kind: type, folder) -> nn.Module:
    torch.manual_seed(1)
    return TINY[kind](folder).eval()


def ragged(rate_hz: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    num_samples = torch.tensor([rate_hz, rate_hz * 2 // 3 + 7, rate_hz // 5])
    return torch.randn(3, rate_hz) * 0.1, num_samples


def garble_padding(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Noise at padded places and 5 more of them: no valid output may notice."""
    longer = torch.cat([values, torch.zeros_like(values[:, :5])], dim=1)
    place = torch.arange(longer.shape[1])
    padded = (place >= lengths[:, None]).reshape(*longer.shape[:2], *[1] * (values.ndim - 2))
    return torch.where(padded, torch.randn_like(longer), longer)


@every(SpeechEncoder)
def test_encoder(kind, tmp_path):
    encoder = build(kind, tmp_path)
    waveform, num_samples = ragged(encoder.sample_rate_hz)
    features, num_steps = encoder(waveform, num_samples)
    assert features.shape[0] == 3
    assert features.shape[2] == encoder.output_dim
    assert num_steps.dtype == torch.long
    assert int(num_steps.max()) <= features.shape[1]
    seconds = num_samples / encoder.sample_rate_hz
    assert ((num_steps - seconds * encoder.frame_rate_hz).abs() <= 1.5).all()
    again, _ = encoder(garble_padding(waveform, num_samples), num_samples)
    for row in range(3):
        alone, steps = encoder(waveform[row : row + 1, : num_samples[row]], num_samples[row : row + 1])
        assert steps[0] == num_steps[row]
        torch.testing.assert_close(features[row, : steps[0]], alone[0, : steps[0]], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(features[row, : steps[0]], again[row, : steps[0]], atol=1e-4, rtol=1e-4)
    features.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters() if p.requires_grad)


@every(LanguageModel)
def test_language_model(kind, tmp_path):
    model = build(kind, tmp_path)
    texts = ["the cow says moo", "paris", ""]
    ids, num_tokens = model.tokenize(texts)
    assert num_tokens[2] == 0
    assert model.detokenize([row[:n] for row, n in zip(ids.tolist(), num_tokens.tolist(), strict=True)]) == texts
    assert 0 <= model.sos_id < model.logits(torch.zeros(1, model.width)).shape[-1]
    embeddings = torch.randn(2, 6, model.width)
    valid = torch.tensor([[True] * 6, [True, True, False, False, True, True]])
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    hidden, _ = model(embeddings, visibility(valid, 6), positions)
    alone, _ = model(embeddings[1:, [0, 1, 4, 5]], visibility(torch.ones(1, 4, dtype=torch.bool), 4), torch.arange(4)[None])
    torch.testing.assert_close(hidden[1, [0, 1, 4, 5]], alone[0], atol=1e-5, rtol=1e-4)
    state = DecodingState(model, 2, torch.device("cpu"))
    stepwise = torch.cat([state.extend(embeddings[:, i : i + 1], valid[:, i : i + 1]) for i in range(6)], dim=1)
    torch.testing.assert_close(stepwise[valid], hidden[valid], atol=1e-5, rtol=1e-4)


@every(SpeechHead)
def test_speech_head(kind, tmp_path):
    head = build(kind, tmp_path)
    waveform, num_samples = ragged(head.mel.sample_rate_hz)
    targets = head.targets(waveform, num_samples)
    assert (targets.num_steps == -(-targets.num_frames // head.frames_per_step)).all()
    assert head.embed(targets.steps).shape == (3, targets.steps.shape[1], WIDTH)
    hidden = torch.randn(3, targets.steps.shape[1], WIDTH)
    whole = head.loss(hidden, targets)
    assert torch.isfinite(whole["speech"].mean)
    garbled = head.loss(garble_padding(hidden, targets.num_steps)[:, : hidden.shape[1]], targets)
    total = 0.0
    for row in range(3):
        alone = head.targets(waveform[row : row + 1, : num_samples[row]], num_samples[row : row + 1])
        steps = int(alone.num_steps[0])
        torch.testing.assert_close(targets.steps[row, :steps], alone.steps[0], atol=1e-4, rtol=1e-4)
        total += float(head.loss(hidden[row : row + 1, :steps], alone)["speech"].total)
    assert float(whole["speech"].total) == pytest.approx(total, rel=1e-4)
    assert float(whole["speech"].total) == pytest.approx(float(garbled["speech"].total), rel=1e-4)
    values, stop = head.step(hidden[:, 0], RowRandom(0, ["a", "b", "c"]))
    assert values.shape == targets.steps[:, 0].shape
    assert ((stop >= 0) & (stop <= 1)).all()
    mel, num_frames = head.spectrogram(targets.steps, targets.num_steps)
    for row, frames in enumerate(targets.num_frames.tolist()):
        assert num_frames[row] >= frames
        torch.testing.assert_close(mel[row, :frames], targets.mel[row, :frames])
    batch = head.embed(targets.steps, RowRandom(0, ["a", "b", "c"]))
    one = head.embed(targets.steps[1:2], RowRandom(0, ["b"]))
    torch.testing.assert_close(batch[1], one[0], atol=1e-5, rtol=1e-4)


@every(Vocoder)
def test_vocoder(kind, tmp_path):
    vocoder = build(kind, tmp_path)
    head = MelRegressionHead(WIDTH, MEL)
    waveform, num_samples = ragged(MEL.sample_rate_hz)
    targets = head.targets(waveform, num_samples)
    audio, lengths = vocoder(targets.mel, targets.num_frames)
    assert torch.isfinite(audio).all()
    assert ((lengths - num_samples).abs() <= 2 * MEL.hop_samples).all()
    again, _ = vocoder(garble_padding(targets.mel, targets.num_frames), targets.num_frames)
    alone, _ = vocoder(targets.mel[1:2, : targets.num_frames[1]], targets.num_frames[1:2])
    torch.testing.assert_close(audio[1, : lengths[1]], alone[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(audio[1, : lengths[1]], again[1, : lengths[1]], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("contract", [SpeechEncoder, LanguageModel, SpeechHead, Vocoder])
def test_every_implementation_is_tested(contract):
    assert set(implementations(contract)) <= set(TINY), "add the new part to TINY"
