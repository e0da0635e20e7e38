"""benchmarks.plain_acgan: the form that ours is measured against computes the same as ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.plain_acgan import PlainACGAN, PlainDiscriminator, PlainGenerator, plain_loader
from stages.generation.acgan import Discriminator, Generator, adversarial_loss, class_loss
from stages.generation.train_acgan import ACGAN
from stages.runtime import params

ROOT = Path(__file__).parents[2]


def with_weights_of(printed: nn.Module, ours: nn.Module) -> nn.Module:
    """The printed network with our weights, which come in the same order and shapes, and with biases that are not zero."""
    for part in ours.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.bias)
    names, values = list(printed.state_dict()), list(ours.state_dict().values())
    printed.load_state_dict({name: value.clone() for name, value in zip(names, values, strict=True)})
    return printed


@pytest.fixture
def double(monkeypatch):
    """Everything in float64, also where our losses ask for float32."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("training", [True, False])
def test_generator_equals_the_printed_one_with_its_gradients(double, training):
    ours = Generator(0.8)
    printed = with_weights_of(PlainGenerator(), ours)
    latents, labels, weights = torch.randn(6, 100), torch.arange(6), torch.randn(6, 3, 32, 32)
    found = []
    for network in (ours.train(training), printed.train(training)):
        images = network(latents, labels)
        gradients = torch.autograd.grad((images * weights).sum(), list(network.parameters()))
        found.append([images, *gradients, *network.buffers()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("real", [True, False])
def test_discriminator_under_the_reports_objective_equals_the_printed_one_with_its_gradients(double, real):
    ours = Discriminator(0.8)
    printed = with_weights_of(PlainDiscriminator(), ours)
    images, labels, found = torch.randn(6, 3, 32, 32).tanh(), torch.arange(6), []

    def our_losses(pictures):
        verdict, kind = ours(pictures)
        return adversarial_loss(verdict, real), class_loss(kind, labels, "report")

    def printed_losses(pictures):
        validity, kind = printed(pictures)
        return nn.BCELoss()(validity, torch.full((6, 1), float(real))), nn.CrossEntropyLoss()(kind, labels)

    for network, losses in ((ours, our_losses), (printed, printed_losses)):
        pictures = images.clone().requires_grad_()
        torch.manual_seed(1)
        adversarial, auxiliary = losses(pictures)
        gradients = torch.autograd.grad((adversarial + auxiliary) / 2, [pictures, *network.parameters()])
        found.append([adversarial, auxiliary, *gradients, *network.buffers()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def batch(size: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real images (n, 3, 32, 32) in [-1, 1] and labels, latents and the labels wanted of them."""
    real = torch.randn(size, 3, 32, 32).tanh()
    return real, torch.randint(10, (size,)), torch.randn(size, 100), torch.randint(10, (size,))


def pair() -> tuple[ACGAN, PlainACGAN]:
    """Both forms with the same weights, under the report's settings, without dropout."""
    paper = params.load(ROOT / "presets/paper.yaml")
    settings = paper.acgan.train.model_copy(update={"precision": "fp32"})
    ours = ACGAN(np.zeros((8, 28, 28, 3), dtype=np.uint8), np.arange(8), settings, 0, torch.device("cpu"), paper.training)
    plain = PlainACGAN(settings.lr_generator)
    with_weights_of(plain.generator, ours.generator)
    with_weights_of(plain.discriminator, ours.discriminator)
    for form in (ours, plain):
        for part in form.discriminator.modules():
            if isinstance(part, nn.Dropout2d):
                part.p = 0.0
    return ours, plain


def compare(ours: ACGAN, plain: PlainACGAN, steps: int, tolerance: float) -> None:
    """Losses, accuracy, gradients, weights and running statistics of every step are equal."""
    for seed in range(steps):
        torch.manual_seed(seed)
        real = batch()
        values, (generator_loss, discriminator_loss, accuracy) = ours.step(*real), plain.step(*real)
        assert values["loss_generator"].item() == pytest.approx(generator_loss, abs=tolerance)
        assert values["loss_discriminator"].item() == pytest.approx(discriminator_loss, abs=tolerance)
        assert (values["accuracy_real"] + values["accuracy_fake"]).item() / 2 == pytest.approx(accuracy)
        for one, other in ((ours.generator, plain.generator), (ours.discriminator, plain.discriminator)):
            for weight, expected in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(weight.grad, expected.grad, rtol=tolerance, atol=tolerance)
                torch.testing.assert_close(weight, expected, rtol=tolerance, atol=tolerance)
            for buffer, expected in zip(one.buffers(), other.buffers(), strict=True):
                torch.testing.assert_close(buffer, expected, rtol=tolerance, atol=tolerance)


def test_steps_on_the_same_batches_agree_in_fp32():
    ours, plain = pair()
    for optimizer in (*ours.optimizers.values(), plain.optimizer_g, plain.optimizer_d):
        # Adam would make whole steps of the rounding errors that are all there is of some gradients.
        optimizer.param_groups[0]["eps"] = 1e-3
    compare(ours, plain, steps=3, tolerance=1e-5)


def test_steps_on_the_same_batches_agree_in_every_weight_in_fp64(double):
    compare(*pair(), steps=3, tolerance=1e-9)


def test_the_loader_gives_whole_shuffled_batches_in_the_range_of_the_networks():
    images = np.zeros((10, 28, 28, 3), dtype=np.uint8)
    images[5:] = 255
    batches = list(plain_loader(images, np.arange(10), 4, workers=0))
    assert [len(labels) for _, labels in batches] == [4, 4]
    for pictures, labels in batches:
        assert pictures.shape == (4, 3, 32, 32)
        assert pictures.dtype == torch.float32
        for picture, label in zip(pictures, labels, strict=True):
            assert (picture == (1.0 if label >= 5 else -1.0)).all()
