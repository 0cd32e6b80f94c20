"""Mel regression head: past frames that its pre-net reads, and the step on which a loss falls."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError
from spectron.heads import LatentSamplingHead, MelRegressionHead, PreNetSettings

MEL = MelConfig(n_mels=5)


@pytest.mark.parametrize(("last", "seen"), [(None, 15), (3, 15), (1, 5), (2, 10)])
def test_pre_net_reads_only_last_frames_of_step(last, seen):
    torch.manual_seed(0)
    head = MelRegressionHead(8, MEL, frames_per_step=3, pre_net=PreNetSettings(bottleneck=32, last_frames=last)).eval()
    steps = torch.randn(2, 4, 15, requires_grad=True)
    head.embed(steps).sum().backward()
    told = steps.grad.abs().sum((0, 1)) > 0
    assert told.tolist() == [False] * (15 - seen) + [True] * seen
    assert head.pre_net.narrow[0].in_features == seen


def test_last_frames_beyond_step_are_refused():
    with pytest.raises(ConfigError) as raised:
        MelRegressionHead(8, MEL, frames_per_step=3, pre_net=PreNetSettings(last_frames=4))
    assert raised.value.key == "pre_net.last_frames"


def test_history_dropout_hides_whole_past_of_rows_in_training():
    torch.manual_seed(0)
    head = MelRegressionHead(8, MEL, pre_net=PreNetSettings(dropout=0.0, history_dropout=0.25))
    steps = torch.randn(400, 3, 5, requires_grad=True)
    head.embed(steps).sum().backward()
    seen = steps.grad.abs().sum(2) > 0
    assert (seen.all(1) | ~seen.any(1)).all(), "an utterance is hidden whole or not at all"
    assert 70 <= (~seen.any(1)).sum() <= 130
    torch.testing.assert_close(head.eval().embed(steps), head.pre_net((steps - head.mean) / head.std, None))


@pytest.mark.parametrize("kind", [MelRegressionHead, LatentSamplingHead])
def test_losses_up_to_a_step_are_those_of_speech_that_ends_there(kind):
    torch.manual_seed(0)
    head = kind(8, mel=MEL, frames_per_step=3).eval()
    targets = head.targets(0.1 * torch.randn(1, 2100), torch.tensor([2100]))
    frames, steps = int(targets.num_frames), int(targets.num_steps)
    assert frames % 3, "the last step is not full"
    hidden = torch.randn(1, steps, 8)
    by_step = head.step_losses(hidden, targets)
    for count in range(1, steps + 1):
        until = min(3 * count, frames)
        cut = replace(
            targets,
            steps=targets.steps[:, :count],
            mel=targets.mel[:, :until],
            num_steps=torch.tensor([count]),
            num_frames=torch.tensor([until]),
        )
        for name, term in head.loss(hidden[:, :count], cut).items():
            if name not in ("stop", "speech"):  # the last step of every prefix would have to stop
                torch.testing.assert_close(by_step[name][0, :count].sum(), term.total, rtol=1e-4, atol=1e-4)
    logits = head.stop_net(hidden)[0, :, 0]
    torch.testing.assert_close(by_step["stop"][0, :-1], 3 * functional.softplus(logits[:-1]))
    torch.testing.assert_close(by_step["stop"][0, -1], 15 * functional.softplus(-logits[-1]))
