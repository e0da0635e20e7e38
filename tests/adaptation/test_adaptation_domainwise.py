"""Several domains in one batch come out as if each had passed through the network alone."""

import copy

import pytest
import torch
from torch import nn

from stages.adaptation.domainwise import convolved, normalised
from stages.adaptation.networks import Decoder, Dropout, Encoder, Head


def block(seed=0):
    """A convolution and its batch norm, half of whose weights are negative and whose statistics are not the first ones."""
    torch.manual_seed(seed)
    convolution, norm = nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -1.2, 0.3, -0.1, 2.0, -0.7]))
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(convolution, norm, nn.MaxPool2d(2), nn.ReLU())


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    return network


def assert_same(ours, theirs, outputs, expected):
    """Outputs, the gradients of a weighted sum of them, and running statistics."""
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    for result in (outputs, expected):
        (result * weights).sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        most = 1e-4 * other.grad.abs().max().item() + 1e-4
        assert (one.grad - other.grad).abs().max().item() <= most, name
    for (name, one), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("domains", [1, 2, 3])
def test_pooling_before_batch_norm_changes_nothing_whatever_the_weights_signs(domains):
    ours, theirs = block(), block()
    images = torch.randn(4 * domains, 3, 12, 12)
    result = convolved(ours[0], ours[1], images, domains)
    expected = torch.cat([theirs(part) for part in images.chunk(domains)])
    assert_same(ours, theirs, result, expected)
    assert ours[1].num_batches_tracked == domains


def test_bf16_is_as_near_to_fp32_as_the_layers_in_order_are():
    """But for the convolution's bias, whose gradient is 0 but for rounding."""
    images = torch.randn(32, 3, 28, 28, generator=torch.Generator().manual_seed(2))

    def found(pooled_first, precision):
        layers = block()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            parts = images.chunk(2)
            output = convolved(layers[0], layers[1], images, 2) if pooled_first else torch.cat([layers(part) for part in parts])
        output.float().square().sum().backward()
        gradients = {name: weight.grad for name, weight in layers.named_parameters() if name != "0.bias"}
        return {"output": output.detach().float(), **gradients, "mean": layers[1].running_mean, "variance": layers[1].running_var}

    exact, ours, theirs = found(False, "fp32"), found(True, "bf16"), found(False, "bf16")
    for name, value in exact.items():
        assert (ours[name] - value).norm() <= 1.5 * (theirs[name] - value).norm() + 1e-5 * value.norm(), name


def test_the_gradient_of_the_images_is_that_of_the_layers_in_order():
    ours, theirs = block(), block()
    images = [torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(2)).requires_grad_() for _ in range(2)]
    convolved(ours[0], ours[1], images[0], 1).square().sum().backward()
    theirs(images[1]).square().sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad, rtol=1e-4, atol=1e-4)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    ours, theirs = block().eval(), block().eval()
    images = torch.randn(4, 3, 12, 12)
    before = copy.deepcopy(ours[1].state_dict())
    assert torch.equal(convolved(ours[0], ours[1], images, 2), theirs(images))
    assert all(torch.equal(value, before[key]) for key, value in ours[1].state_dict().items())


@pytest.mark.parametrize(("make", "shape"), [(Encoder, (3, 28, 28)), (lambda: Head(10), (512,)), (Decoder, (512,))])
def test_a_network_takes_two_domains_at_once_as_one_after_the_other(make, shape):
    torch.manual_seed(0)
    ours = without_dropout(make())
    theirs = copy.deepcopy(ours)
    batch = torch.randn(16, *shape)
    batch[8:] += 1
    expected = torch.cat([nn.Sequential.forward(theirs, part) for part in batch.chunk(2)])
    assert_same(ours, theirs, ours(batch, domains=2), expected)


def test_domains_are_not_mixed_in_batch_norm():
    norm, batch = nn.BatchNorm1d(5), torch.randn(8, 5)
    batch[4:] += 100
    assert normalised(norm, batch, 2)[:4].mean(0).abs().max() < 1e-5


def test_dropout_keeps_the_mean_and_drops_whole_channels():
    torch.manual_seed(0)
    features = Dropout(0.25)(torch.ones(400, 50, 2, 2))
    assert features.mean().item() == pytest.approx(1, abs=0.02)
    assert sorted(features.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert torch.equal(features.amin(dim=(2, 3)), features.amax(dim=(2, 3)))
    assert torch.equal(Dropout(0.25).eval()(features), features)


def test_dropout_of_two_domains_is_drawn_one_after_the_other():
    drop, batch = Dropout(0.5), torch.rand(6, 9)
    torch.manual_seed(1)
    together = drop(batch, domains=2)
    torch.manual_seed(1)
    assert torch.equal(together, torch.cat([drop(batch[:3]), drop(batch[3:])]))
