"""Latent sampling head: losses against torch and a slow loop, sampling in training and generation."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from spectron.audio.mel import MelConfig
from spectron.heads import LatentSamplingHead, LatentSettings
from spectron.randomness import RowRandom

MEL = MelConfig(n_mels=5)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return LatentSamplingHead(
        8, LatentSettings(kl_weight=0.3, flux_weight=0.2), post_net_width=12, mel=MEL, frames_per_step=3
    ).eval()


@pytest.fixture
def case(head):
    """Return hidden states of two rows of different lengths, and their targets."""
    generator = torch.Generator().manual_seed(1)
    waveform = 0.1 * torch.randn(2, 4000, generator=generator)
    targets = head.targets(waveform, torch.tensor([4000, 2500]))
    return torch.randn(2, targets.steps.shape[1], 8, generator=generator), targets


def test_kl_equals_torch_divergence(head, case):
    hidden, targets = case
    by_frame = [
        value.reshape(2, -1, 5)
        for value in (head.post_net(hidden), (0.5 * head.log_variance(hidden)).exp(), targets.steps)
    ]
    mean, std, true = *by_frame[:2], (by_frame[2] - head.mean) / head.std
    assert (targets.num_frames % 3).any(), "a last step that is not full"
    expected = sum(
        kl_divergence(Normal(mean[row, :frames], std[row, :frames]), Normal(true[row, :frames], 1.0)).sum()
        for row, frames in enumerate(targets.num_frames)
    )
    found = head.loss(hidden, targets)["kl"]
    torch.testing.assert_close(found.total, expected / 5)
    assert int(found.count) == int(targets.num_frames.sum())


@torch.no_grad()
def test_flux_equals_loop_over_frames(head, case):
    hidden, targets = case
    total = 0.0
    for row, frames in enumerate(targets.num_frames.tolist()):
        mean = head.post_net(hidden[row]).reshape(-1, 5)[:frames]
        true = ((targets.steps[row] - head.mean) / head.std).reshape(-1, 5)[:frames]
        for frame in range(1, len(mean)):
            total -= float((mean[frame] - true[frame - 1]).abs().sum())
    assert float(head.loss(hidden, targets)["flux"].total) == pytest.approx(total / 5, rel=1e-5)


def test_silence_in_last_step_is_not_learnt(head):
    """Ten frames, three per step: two frames of the last step are beyond the recording and change no weight."""
    targets = head.targets(
        0.1 * torch.randn(2, 3000, generator=torch.Generator().manual_seed(1)), torch.tensor([2000, 3000])
    )
    assert (int(targets.num_frames[0]), int(targets.num_steps[0])) == (10, 4)
    torch.testing.assert_close(targets.steps[0, 3, 5:], torch.full((10,), math.log(MEL.floor)))
    hidden = torch.randn(2, targets.steps.shape[1], 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
    head.loss(hidden, targets)["speech"].total.backward()
    silent = hidden.grad.clone()
    hidden.grad = None
    targets.steps[0, 3, 5:] = 5.0
    head.loss(hidden, targets)["speech"].total.backward()
    assert hidden.grad.equal(silent)


def test_total_contains_all_terms(head, case):
    terms = head.loss(*case)
    expected = (
        terms["spectrogram"].total
        + head.stop.weight * terms["stop"].total
        + 0.3 * terms["kl"].total
        + 0.2 * terms["flux"].total
    )
    torch.testing.assert_close(terms["speech"].total, expected)


def test_frames_are_sampled_only_in_training_and_generation(head, case):
    hidden, targets = case
    assert head.loss(hidden, targets)["frames"].total.equal(head.loss(hidden, targets)["frames"].total)
    head.train()
    assert not head.loss(hidden, targets)["frames"].total.equal(head.loss(hidden, targets)["frames"].total)
    head.eval()
    sure, drawn = (
        head.step(hidden[:, 0])[0],
        [head.step(hidden[:, 0], RowRandom(seed, ["a", "b"]))[0] for seed in (0, 0, 1)],
    )
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
    assert not drawn[0].equal(sure)
    head.latent.std_at_inference = 0.0
    torch.testing.assert_close(head.step(hidden[:, 0], RowRandom(0, ["a", "b"]))[0], sure)


def test_sampled_std_is_the_predicted_one(head):
    """Over many samples at one place, before the residual network, which is set to zero here."""
    for layer in (head.refine[0], head.refine[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    hidden = torch.randn(1, 8, generator=torch.Generator().manual_seed(2)).expand(4000, 8)
    drawn = (head.step(hidden, RowRandom(0, [str(row) for row in range(4000)]))[0] - head.mean) / head.std
    expected = (0.5 * head.log_variance(hidden[0])).exp()
    torch.testing.assert_close(drawn.std(0), expected, atol=0.0, rtol=0.08)
    torch.testing.assert_close(drawn.mean(0), head.post_net(hidden[0]), atol=0.08, rtol=0.0)
