"""stages.generation.acgan: sizes, initialisation, objectives in closed form, and its own convolutions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.generation import acgan
from stages.generation.acgan import Discriminator, EnlargingConv2d, Generator, RowwiseConv2d, adversarial_loss, class_loss


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_those_of_the_reference():
    assert count(Generator()) == 1_052_139
    assert count(Discriminator()) == 103_531


def test_shapes_and_range():
    images = Generator()(torch.randn(5, 100), torch.arange(5))
    assert images.shape == (5, 3, 32, 32)
    assert images.abs().max() <= 1
    real, kind = Discriminator()(images)
    assert real.shape == (5,)
    assert kind.shape == (5, 10)


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_eps_reaches_every_batch_norm_but_the_generators_first(network):
    eps = [part.eps for part in network(0.8).modules() if isinstance(part, nn.BatchNorm2d)]
    assert eps == ([1e-5, 0.8, 0.8] if network is Generator else [0.8, 0.8, 0.8])


def test_initialisation_is_the_references():
    torch.manual_seed(0)
    for network in (Generator(), Discriminator()):
        for part in network.modules():
            if isinstance(part, nn.Conv2d) and part.weight.numel() > 10_000:
                assert part.weight.std().item() == pytest.approx(0.02, rel=0.05)
            if isinstance(part, nn.BatchNorm2d):
                assert part.weight.mean().item() == pytest.approx(1.0, abs=0.02)
                assert 0.005 < part.weight.std().item() < 0.04
                assert not part.bias.any()


def test_label_scales_the_latent_so_that_a_zero_latent_forgets_it():
    generator = Generator().eval()
    one, other = (generator(torch.zeros(1, 100), torch.tensor([label])) for label in (3, 7))
    assert torch.equal(one, other)
    one, other = (generator(torch.ones(1, 100), torch.tensor([label])) for label in (3, 7))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("tiles", [False, True])
def test_enlarging_convolution_is_the_same_in_bfloat16_on_every_processor(monkeypatch, tiles):
    monkeypatch.setattr(acgan, "_multiplies_tiles", lambda: tiles)
    torch.manual_seed(0)
    layer, images, found = EnlargingConv2d(5, 7), torch.randn(2, 5, 6, 9), []
    nn.init.normal_(layer.bias)
    for precise in (images.bfloat16(), images):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precise is not images):
            outputs = layer(precise)
        assert outputs.dtype == precise.dtype
        found.append([outputs, *torch.autograd.grad(outputs.float().square().sum(), list(layer.parameters()))])
    for rounded, exact in zip(*found, strict=True):
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


def test_row_by_row_convolution_is_the_plain_one_with_its_gradients():
    torch.manual_seed(0)
    layer, images = RowwiseConv2d(5, 3), torch.randn(2, 5, 6, 9)
    found = []
    for forward in (RowwiseConv2d.forward, nn.Conv2d.forward):
        pictures = images.clone().requires_grad_()
        outputs = forward(layer, pictures)
        found.append([outputs, *torch.autograd.grad(outputs.tanh().sum(), [pictures, *layer.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_enlarging_convolution_equals_enlarging_then_convolving():
    torch.manual_seed(0)
    layer, images = EnlargingConv2d(5, 7).double(), torch.randn(2, 5, 6, 9, dtype=torch.double)
    layer.weight.data.normal_()
    plain = F.conv2d(F.interpolate(images, scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(images), plain, rtol=1e-12, atol=1e-12)
    gradient, expected = (torch.autograd.grad(out.square().sum(), layer.weight)[0] for out in (layer(images), plain))
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_adversarial_loss_is_the_binary_cross_entropy_of_the_sigmoid():
    logits = torch.tensor([-2.0, 0.0, 3.0])
    for real in (True, False):
        expected = F.binary_cross_entropy(logits.sigmoid(), torch.full((3,), float(real)))
        torch.testing.assert_close(adversarial_loss(logits, real), expected)
    assert adversarial_loss(torch.zeros(4), True).item() == pytest.approx(math.log(2))
    assert adversarial_loss(torch.tensor([1000.0]), False).item() == pytest.approx(1000.0)


def test_class_loss_of_logits_falls_to_zero_and_of_the_report_to_1_461():
    sure, labels = 1000 * torch.eye(10), torch.arange(10)
    assert class_loss(sure, labels, "logits").item() == pytest.approx(0.0, abs=1e-6)
    assert class_loss(sure, labels, "report").item() == pytest.approx(math.log(math.e + 9) - 1)
    assert class_loss(sure, labels, "report").item() == pytest.approx(1.461, abs=5e-4)


@pytest.mark.parametrize("objective", ["logits", "report"])
def test_class_loss_of_ignorance_is_log_ten(objective):
    assert class_loss(torch.zeros(4, 10), torch.arange(4), objective).item() == pytest.approx(math.log(10))


def test_class_loss_of_the_report_in_closed_form():
    softmax = torch.tensor([0.75] + [0.25 / 9] * 9)
    expected = -0.75 + math.log(math.exp(0.75) + 9 * math.exp(0.25 / 9))
    assert class_loss(softmax.log()[None], torch.tensor([0]), "report").item() == pytest.approx(expected)


def test_losses_are_computed_in_fp32_also_from_bf16_logits():
    assert adversarial_loss(torch.zeros(2, dtype=torch.bfloat16), True).dtype == torch.float32
    assert class_loss(torch.zeros(2, 10, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.long), "report").dtype == torch.float32
