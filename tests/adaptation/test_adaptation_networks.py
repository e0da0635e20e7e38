"""Sizes, ranges and starting weights of the networks."""

import pytest
import torch
from torch import nn

from stages.adaptation import networks
from stages.adaptation.networks import DANN, DSN, Decoder, Encoder, Head


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_study_s():
    assert count(DANN()) == 600_490
    assert count(DSN()) == 2_227_766


def test_codes_are_512_numbers_that_are_not_negative():
    codes = Encoder()(torch.rand(4, 3, 28, 28))
    assert codes.shape == (4, 512)
    assert codes.min() >= 0


def test_decoder_gives_images_between_minus_one_and_one():
    images = Decoder()(torch.randn(4, 512) * 50)
    assert images.shape == (4, 3, 28, 28)
    assert images.abs().max() <= 1


@pytest.mark.parametrize("autocast", [False, True])
def test_decoder_equals_its_layers_in_order_with_their_gradients(autocast):
    torch.manual_seed(0)
    decoder, codes, weights = Decoder().eval(), torch.randn(4, 512), torch.randn(4, 3, 28, 28)
    found = []
    for forward in (decoder, lambda inputs: nn.Sequential.forward(decoder, inputs)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            images = forward(codes)
        found.append([images, *torch.autograd.grad((images * weights).sum(), list(decoder.parameters()))])
    tolerance = 0.02 if autocast else 1e-5
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


def test_logits_are_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Head(10)(torch.randn(4, 512)).dtype == torch.float32


def test_dsn_starts_from_xavier_convolutions_and_scattered_batch_norm():
    torch.manual_seed(0)
    network = DSN()
    convolution = network.shared[0].weight
    assert convolution.abs().max() <= (6 / (25 * (3 + 64))) ** 0.5
    assert convolution.std().item() > 0.9 * (2 / (25 * (3 + 64))) ** 0.5
    scales = torch.cat([module.weight.detach() for module in network.modules() if isinstance(module, networks.nn.BatchNorm2d)])
    assert abs(scales.mean().item() - 1) < 0.01
    assert 0.015 < scales.std().item() < 0.025


def test_dann_starts_as_pytorch_starts():
    network = DANN()
    assert all((module.weight == 1).all() for module in network.modules() if isinstance(module, nn.BatchNorm2d))
