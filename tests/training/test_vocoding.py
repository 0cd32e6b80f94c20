"""Vocoder training: losses against loops and hand-worked values, gradients of both sides, a short fit."""

import numpy as np
import pytest
import torch
from torch import nn

from spectron.audio.mel import MelConfig
from spectron.batch import SpeechBatch
from spectron.losses.waveform import discriminator_hinge, feature_matching, generator_hinge, stft_distances
from spectron.training.vocoding import VocoderLossWeights, VocoderModule, constant
from spectron.vocoders import VocosSettings, VocosVocoder
from spectron.vocoders.discriminators import Discriminators, DiscriminatorSettings, PeriodDiscriminator

MEL = MelConfig(n_mels=20)
JUDGES = DiscriminatorSettings(periods=[2, 3], period_channels=[4, 4], resolutions=[256], resolution_channels=4)


def module(**weights) -> VocoderModule:
    torch.manual_seed(0)
    settings = VocosSettings(width=16, layers=2, feedforward=24)
    return VocoderModule(lambda mel: VocosVocoder(mel, vocos=settings), MEL, JUDGES, VocoderLossWeights(**weights))


def batch(lengths=(4000, 2600)) -> SpeechBatch:
    torch.manual_seed(1)
    waves = [0.1 * torch.randn(length) for length in lengths]
    padded, rows = nn.utils.rnn.pad_sequence(waves, batch_first=True), len(lengths)
    ids, nothing = [str(row) for row in range(rows)], torch.zeros(rows, 0)
    num_samples = torch.tensor(lengths)
    return SpeechBatch(ids, nothing, torch.zeros(rows, dtype=torch.long), [""] * rows, padded, num_samples, [""] * rows)


def test_stft_distances_against_numpy():
    torch.manual_seed(0)
    one, other = 0.1 * torch.randn(1, 3000), 0.1 * torch.randn(1, 3000)

    def magnitudes(wave: np.ndarray, size: int) -> np.ndarray:
        wave, window = np.pad(wave, size // 2), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        frames = [wave[begin : begin + size] * window for begin in range(0, len(wave) - size + 1, size // 4)]
        return np.maximum(np.abs(np.fft.rfft(np.stack(frames))), 1e-5)

    convergence, logarithmic = [], []
    for size in (512, 1024, 2048):
        a, b = (magnitudes(wave[0].double().numpy(), size) for wave in (one, other))
        convergence.append(np.linalg.norm(b - a) / np.linalg.norm(b))
        logarithmic.append(np.abs(np.log(a) - np.log(b)).mean())
    found = stft_distances(one, other)
    assert found[0].item() == pytest.approx(np.mean(convergence), rel=1e-4)
    assert found[1].item() == pytest.approx(np.mean(logarithmic), rel=1e-4)
    assert [float(distance) for distance in stft_distances(one, one)] == [0.0, 0.0]
    rows = stft_distances(torch.cat([one, other]), torch.cat([other, other]))
    assert rows[0].tolist() == pytest.approx([found[0].item(), 0.0])


def test_hinge_and_feature_losses_by_hand():
    scores = [torch.tensor([[0.5, 2.0]]), torch.tensor([[-1.0]])]
    assert float(generator_hinge(scores)) == pytest.approx(((0.5 + 0.0) / 2 + 2.0) / 2)
    others = [torch.tensor([[-2.0, 0.0]]), torch.tensor([[-0.5]])]
    assert float(discriminator_hinge(scores, others)) == pytest.approx(((0.25 + 0.5) + (2.0 + 0.5)) / 2)
    real, made = [[torch.tensor([1.0, 3.0]), torch.tensor([2.0])]], [[torch.tensor([2.0, 3.0]), torch.tensor([0.0])]]
    assert float(feature_matching(real, made)) == pytest.approx((0.5 + 2.0) / 2)


def test_period_discriminator_sees_every_pth_sample():
    """Scores of the folded signal equal 1-D convolutions over each phase of the signal."""
    torch.manual_seed(0)
    judge, wave = PeriodDiscriminator(3, [4, 5]), torch.randn(1, 60)
    scores, features = judge(wave)
    assert [tuple(layer.shape) for layer in features] == [(1, 4, 7, 3), (1, 5, 7, 3)]
    weights = [layer.weight[..., 0] for layer in judge.layers]
    for phase in range(3):
        x = wave[:, None, phase::3]
        for weight, layer, stride in zip(weights, judge.layers, (3, 1), strict=True):
            x = nn.functional.leaky_relu(nn.functional.conv1d(x, weight, layer.bias, stride, padding=2), 0.1)
        expected = nn.functional.conv1d(x, judge.output.weight[..., 0], judge.output.bias, padding=1)
        torch.testing.assert_close(scores.unflatten(1, (7, 3))[..., phase], expected[:, 0], atol=1e-6, rtol=1e-5)


def test_gradients_equal_two_separate_backward_passes():
    """One sum of losses gives the gradients of two separate backward passes."""
    task, data = module(), batch()
    task.train()
    means = {name: term.mean for name, term in task.loss_terms(data).items()}
    assert set(means) == {"mel", "stft", "generator", "features", "discriminators"}
    task.total(means).backward()
    found = {name: parameter.grad.clone() for name, parameter in task.model.named_parameters()}
    task.zero_grad()
    vocoded = task.model(data.continuation, data.continuation_num_samples)[2]
    real, made = task.model.discriminators(data.continuation), task.model.discriminators(vocoded.detach())
    discriminator_hinge([score for score, _ in real], [score for score, _ in made]).backward()
    for name, parameter in task.model.discriminators.named_parameters(prefix="discriminators"):
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-3)
    task.zero_grad()
    terms = {name: term.mean for name, term in task.loss_terms(data).items() if name != "discriminators"}
    task.total(terms).backward()
    assert all(parameter.grad is None for parameter in task.model.discriminators.parameters())
    for name, parameter in task.model.vocoder.named_parameters(prefix="vocoder"):
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-3)


def test_constant_restores_trainable_parameters():
    judges = Discriminators(JUDGES)
    frozen = next(judges.parameters())
    frozen.requires_grad_(False)
    with constant(judges):
        assert not any(parameter.requires_grad for parameter in judges.parameters())
    assert not frozen.requires_grad
    assert sum(not parameter.requires_grad for parameter in judges.parameters()) == 1


def test_no_adversarial_terms_before_their_step():
    task = module(adversarial_from_step=1)
    task.train()
    assert set(task.loss_terms(batch())) == {"mel", "stft"}


def test_validation_independent_of_batching():
    task = module().eval()
    together = task.loss_terms(batch())
    waves = batch()
    for name in ("mel", "stft"):
        total = count = 0.0
        for row, length in enumerate(waves.continuation_num_samples.tolist()):
            alone = batch()
            alone.ids, alone.continuation = ["x"], waves.continuation[row : row + 1, :length]
            alone.continuation_num_samples = torch.tensor([length])
            term = task.loss_terms(alone)[name]
            total, count = total + float(term.total), count + float(term.count)
        assert float(together[name].total) == pytest.approx(total, rel=1e-4)
        assert float(together[name].count) == count


@pytest.mark.parametrize("draft_rounds", [0, 4])
def test_vocoder_fits_one_recording(draft_rounds):
    """The loss falls in sixty steps: by 60 % without a draft, by 20 % from the loss of the draft."""
    torch.manual_seed(0)
    settings = VocosSettings(width=16, layers=2, feedforward=24, draft_rounds=draft_rounds)
    task = VocoderModule(
        lambda mel: VocosVocoder(mel, vocos=settings), MEL, JUDGES, VocoderLossWeights(adversarial_from_step=10_000)
    )
    time = torch.arange(6400) / 16000
    data = batch((6400,))
    data.continuation = (0.3 * torch.sin(2 * torch.pi * 440 * time) + 0.01 * torch.randn(6400))[None]
    optimizer = torch.optim.AdamW(task.model.vocoder.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = task.total({name: term.mean for name, term in task.loss_terms(data).items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < (0.8 if draft_rounds else 0.4) * losses[0]
