"""Pre-net of the mel regression head: past frames that it reads."""

import pytest
import torch

from spectron.audio.mel import MelConfig
from spectron.errors import ConfigError
from spectron.heads import MelRegressionHead, PreNetSettings

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
