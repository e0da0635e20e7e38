"""stages.runtime.schedule: the learning rate as a function of the step."""

import pytest
import torch

from stages.runtime.schedule import set_lr


@pytest.mark.parametrize(
    ("decay", "expected"),
    [(0.0, [1, 1, 1, 1]), (0.5, [1, 1, 1, 0.5]), (1.0, [1, 0.75, 0.5, 0.25])],
)
def test_learning_rate_falls_linearly_over_the_last_share_of_the_steps(decay, expected):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=123.0)
    rates = []
    for step in range(1, 5):
        set_lr(optimizer, 0.01, step, 4, decay)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01 * share for share in expected])
