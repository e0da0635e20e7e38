"""StyleGAN2's losses and regularisers where their values are known in closed form."""

import math

import pytest
import torch

from stages.generation.losses import discriminator_loss, generator_loss, gradient_penalty, path_lengths

REAL, FAKE = torch.tensor([-3.0, 0.5]), torch.tensor([2.0, 0.0])


def test_inverted_hinge_wants_real_scores_low_and_fake_scores_high() -> None:
    assert discriminator_loss("hinge_inverted", REAL, FAKE).item() == pytest.approx((0 + 1.5) / 2 + (0 + 1) / 2)
    assert generator_loss("hinge_inverted", FAKE).item() == pytest.approx(1.0)


def test_non_saturating_loss_is_the_logistic_one() -> None:
    expected = sum(math.log1p(math.exp(-s)) for s in (-3.0, 0.5)) / 2 + sum(math.log1p(math.exp(s)) for s in (2.0, 0.0)) / 2
    assert discriminator_loss("non_saturating", REAL, FAKE).item() == pytest.approx(expected)
    assert generator_loss("non_saturating", FAKE).item() == pytest.approx((math.log1p(math.exp(-2)) + math.log(2)) / 2)


@pytest.mark.parametrize("form", ["hinge_inverted", "non_saturating"])
def test_generator_and_discriminator_pull_fake_scores_in_opposite_directions(form: str) -> None:
    fake = torch.tensor([0.3, -0.2], requires_grad=True)
    (up,) = torch.autograd.grad(generator_loss(form, fake), fake)
    (down,) = torch.autograd.grad(discriminator_loss(form, REAL, fake), fake)
    assert (up * down < 0).all()


@pytest.mark.parametrize(("form", "expected"), [("r1", 4.5), ("one_centred", 4.0)])
def test_penalty_of_a_linear_critic_follows_from_its_slope(form: str, expected: float) -> None:
    slope = torch.zeros(3, 2, 2)
    slope[1, 0, 1] = 3.0
    images = torch.rand(5, 3, 2, 2, requires_grad=True)
    penalty = gradient_penalty(form, (images * slope).sum((1, 2, 3)), images)
    assert penalty.item() == pytest.approx(expected)


def test_penalty_can_be_differentiated_by_the_critics_weights() -> None:
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    images = torch.rand(5, 2, requires_grad=True)
    gradient_penalty("r1", images @ slope, images).backward()
    torch.testing.assert_close(slope.grad, torch.tensor([3.0, 4.0]))


def test_path_length_of_a_linear_generator_is_the_norm_of_noise_times_its_matrix() -> None:
    n, slots, latent = 4, 3, 6
    matrix = torch.randn(slots, latent, 3 * 8 * 8)
    styles = torch.randn(n, slots, latent, requires_grad=True)
    images = torch.einsum("nsl,slp->np", styles, matrix).reshape(n, 3, 8, 8)
    noise = torch.randn(n, 3, 8, 8)
    lengths = path_lengths(images, styles, noise)
    gradient = torch.einsum("np,slp->nsl", noise.flatten(1) / 8, matrix)
    torch.testing.assert_close(lengths, gradient.square().sum(2).mean(1).sqrt())


def test_path_length_of_orthonormal_pixels_is_their_share_of_the_noise() -> None:
    styles = torch.zeros(2000, 1, 3 * 4 * 4, requires_grad=True)
    lengths = path_lengths(styles.reshape(2000, 3, 4, 4), styles, torch.randn(2000, 3, 4, 4))
    assert lengths.square().mean().item() == pytest.approx(3.0, rel=0.02)
