"""Compiled networks learn what others do; batch norm by domain, too, whose statistics the compiler must be told of."""

import multiprocessing

import numpy as np
import pytest
import torch
from torch import nn

from stages.adaptation.domainwise import convolved
from stages.adaptation.method import METHODS
from stages.runtime.seeding import seed_step
from tests.adaptation.test_adaptation_methods import make

# Encoders, decoders and heads: all but the heads of self-ensembling, single layers.
NETWORKS = {"source_only": 2, "dann": 3, "dsn": 6, "mean_teacher": 2, "target_only": 2}


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


def after_three_steps(name: str, compiled: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a method records in each step, with its running statistics then; and how far its weights have moved."""
    model = make(name, compiled=compiled, **({"width": 8} if name == "mean_teacher" else {}))
    assert sum(part._compiled_call_impl is not None for part in model.modules()) == (NETWORKS[name] if compiled else 0)
    # Of a bias before batch norm the gradient is nothing but rounding, of which Adam would make a whole step.
    model.optimizers["adam"].param_groups[0]["eps"] = 0.01
    found, before = {}, {key: tensor.detach().clone() for key, tensor in model.named_parameters()}
    for step in (1, 2, 3):
        seed_step(0, step)
        found |= {f"{key} of step {step}": value.numpy() for key, value in model.update(step).items()}
    moved = {key: (tensor.detach() - before[key]).numpy() for key, tensor in model.named_parameters()}
    return found | {key: tensor.numpy() for key, tensor in model.named_buffers()}, moved


def all_methods_compiled() -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Every method after three steps; what one compiles, others with the same networks use."""
    from torch._dynamo import config as tracing
    from torch._inductor import config

    # Dropout draws the numbers that it draws otherwise.
    config.fallback_random = True
    # Code without vectors takes the compiler two thirds of the time.
    config.cpp.simdlen = 1
    # Instead of going on uncompiled.
    tracing.fail_on_recompile_limit_hit = True
    return {name: after_three_steps(name, True) for name in METHODS}


@pytest.mark.slow
def test_compiled_batch_norm_by_domain_has_the_same_gradients_and_running_statistics():
    # Compiled backward passes start threads, and a process that has them can't be forked by other tests.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        compiled = pool.apply(after_three_passes, [True])
    eager = after_three_passes(compiled=False)
    assert compiled.keys() == eager.keys() and np.abs(eager["running_mean"]).min() > 1e-3
    for name, values in compiled.items():
        np.testing.assert_allclose(values, eager[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_compiled_methods_learn_what_others_do_and_keep_the_names_of_their_weights():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        compiled = pool.apply(all_methods_compiled)
    assert compiled.keys() == set(METHODS)
    for method, (found, moved) in compiled.items():
        eager, eager_moved = after_three_steps(method, compiled=False)
        assert (found.keys(), moved.keys()) == (eager.keys(), eager_moved.keys())
        for name, values in found.items():
            assert np.isfinite(values).all(), f"{name} of {method}"
            np.testing.assert_allclose(values, eager[name], rtol=1e-4, atol=1e-4, err_msg=f"{name} of {method}")
        # Nearly all weights alike, and all of them together: on one processor 0.4 % of source_only's are not, by up to 9e-4, with
        # one thread, and none with two. Why is not known; another choice under a pooling, where rounding decides, would do it.
        values, eager_values = (np.concatenate([way[name].ravel() for name in eager_moved]) for way in (moved, eager_moved))
        off, away = np.abs(values - eager_values) > 1e-4, np.linalg.norm(values - eager_values) / np.linalg.norm(eager_values)
        assert off.mean() < 0.01 and away < 0.02, f"{method}: {off.mean():.2%} of the weights are off, all by {away:.2%}"
