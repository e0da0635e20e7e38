"""What the compiler makes of batch norm by domain, whose statistics it must be told of."""

import multiprocessing

import numpy as np
import pytest
import torch
from torch import nn

from stages.adaptation.domainwise import convolved


def after_three_passes(compiled: bool) -> dict[str, np.ndarray]:
    """Output, gradients and running statistics, with weights of both signs."""
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8)
    nn.init.normal_(norm.weight)
    function = torch.compile(convolved) if compiled else convolved
    for _ in range(3):
        output = function(convolution, norm, torch.rand(8, 3, 12, 12) + 1, 2)
        (output.square().mean() + output.mean()).backward()
    found = {"output": output.detach(), "filters": convolution.weight.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {name: tensor.numpy() for name, tensor in (found | norm.state_dict()).items()}


@pytest.mark.slow
def test_compiled_batch_norm_by_domain_has_the_same_gradients_and_running_statistics():
    # Compiled backward passes start threads, and a process that has them can't be forked by other tests.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        compiled = pool.apply(after_three_passes, [True])
    eager = after_three_passes(compiled=False)
    assert compiled.keys() == eager.keys() and np.abs(eager["running_mean"]).min() > 1e-3
    for name, values in compiled.items():
        np.testing.assert_allclose(values, eager[name], rtol=1e-4, atol=1e-4, err_msg=name)
