"""Learning-rate schedule, freezing, learning rates by part, values that are not finite."""

import pytest
import torch
from torch import nn

from spectron.errors import ConfigError, TrainingError
from spectron.training.optimisation import (
    Optimisation,
    freeze,
    keep_frozen_in_eval,
    learning_rate_factor,
    parameter_groups,
    require_finite,
)


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(2, 3), nn.Dropout()), "head": nn.Linear(3, 1)})


def test_inverse_sqrt_schedule_by_hand():
    settings = Optimisation(warmup_steps=4)
    assert [learning_rate_factor(step, settings, 0) for step in (0, 3, 4, 15)] == [
        0.25,
        1.0,
        pytest.approx((4 / 5) ** 0.5),
        0.5,
    ]


def test_cosine_schedule_ends_at_zero():
    settings = Optimisation(warmup_steps=10, schedule="cosine")
    assert learning_rate_factor(60, settings, 110) == pytest.approx(0.5)
    assert learning_rate_factor(110, settings, 110) == pytest.approx(0.0)
    assert learning_rate_factor(500, settings, 110) == pytest.approx(0.0)


def test_frozen_parts_without_gradient_in_eval():
    net = model()
    freeze(net, ["encoder.*"])
    net.train()
    keep_frozen_in_eval(net)
    assert not net["encoder"].training
    assert net["head"].training
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("pattern", "suggestion"),
    [
        ("encodr.*", "Did you mean `encoder.*`?"),
        ("encoder.1.*", "Did you mean `encoder.0.*`?"),
        ("qqq", "Valid names: encoder.*, encoder.0.*, head.*"),
    ],
)
def test_unmatched_freeze_pattern_refused(pattern, suggestion):
    with pytest.raises(ConfigError) as raised:
        freeze(model(), ["head.*", pattern])
    assert raised.value.key == "optimisation.freeze"
    assert repr(pattern) in raised.value.message
    assert suggestion in raised.value.message


def test_parameter_groups_by_part_and_decay():
    groups = parameter_groups(
        model(), Optimisation(peak_learning_rate=1.0, weight_decay=0.1, part_factors={"encoder": 0.5})
    )
    by_kind = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in groups}
    assert by_kind == {(0.5, 0.1): 1, (0.5, 0.0): 1, (1.0, 0.1): 1, (1.0, 0.0): 1}
    with pytest.raises(ConfigError) as raised:
        parameter_groups(model(), Optimisation(part_factors={"encode": 0.5}))
    assert (raised.value.key, raised.value.allowed) == ("optimisation.part_factors", ("encoder", "head"))


def test_all_parameters_frozen_refused():
    net = model()
    freeze(net, ["*"])
    with pytest.raises(ConfigError, match="every parameter is frozen") as raised:
        parameter_groups(net, Optimisation())
    assert raised.value.key == "optimisation.freeze"


def test_not_finite_names_step_and_batch():
    require_finite(torch.tensor(1.0), "the loss", 3, ["a"])
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3, batch: a, b\. The last checkpoint is good"):
        require_finite(torch.tensor(float("nan")), "the loss", 3, ["a", "b"])
