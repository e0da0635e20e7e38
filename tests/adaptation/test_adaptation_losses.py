"""The losses in closed form."""

import math

import pytest
import torch
from torch.nn import functional as F

from stages.adaptation import losses


def plus_form(images, reconstructions):
    """The reconstruction loss as a well-known implementation has it: the second term is added where DSN subtracts it."""
    difference = images - reconstructions
    return difference.square().mean() + difference.mean().square()


def test_reversal_leaves_values_and_turns_gradients_round():
    codes = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    reversed_codes = losses.reverse_gradient(codes, 0.25)
    assert torch.equal(reversed_codes, codes)
    (reversed_codes * torch.tensor([4.0, 8.0, -12.0])).sum().backward()
    assert torch.equal(codes.grad, torch.tensor([-1.0, -2.0, 3.0]))


def test_reversal_of_strength_zero_stops_the_gradient():
    codes = torch.ones(3, requires_grad=True)
    losses.reverse_gradient(codes, 0.0).sum().backward()
    assert torch.equal(codes.grad, torch.zeros(3))


@pytest.mark.parametrize(
    ("progress", "strength"),
    [(0.0, 0.0), (0.1, math.tanh(0.5)), (0.5, math.tanh(2.5)), (1.0, math.tanh(5.0)), (0.14, 0.604), (19000 / 140000, 0.591)],
)
def test_lambda_rises_as_the_paper_says_and_reaches_the_study_s_values(progress, strength):
    assert losses.reversal_strength(progress) == pytest.approx(strength, abs=5e-4)


def test_domain_loss_is_the_cross_entropy_of_one_domain():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert losses.domain_loss(logits, 0).item() == pytest.approx((math.log(2) + math.log(1 + math.exp(-2))) / 2)
    assert losses.domain_loss(logits, 1).item() == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)


def test_scale_invariant_mse_forgives_an_equal_offset():
    images = torch.rand(4, 3, 28, 28)
    assert losses.scale_invariant_mse(images, images + 0.3).item() == pytest.approx(0.0, abs=1e-6)


def test_scale_invariant_mse_is_the_variance_of_the_difference_not_the_sum_of_both_terms():
    images, reconstructions = torch.rand(4, 3, 28, 28), torch.rand(4, 3, 28, 28) - 0.4
    loss = losses.scale_invariant_mse(images, reconstructions).item()
    assert loss == pytest.approx((images - reconstructions).var(correction=0).item(), rel=1e-5)
    assert plus_form(images, reconstructions).item() > loss + 0.1


def test_difference_loss_of_orthogonal_codes_is_zero():
    private, shared = torch.zeros(6, 512), torch.zeros(6, 512)
    private[:3, :3] = torch.eye(3)
    shared[3:, 7:10] = torch.eye(3)
    assert losses.difference_loss(private, shared).item() == 0.0


def test_difference_loss_of_one_pair_of_codes_is_known():
    private, shared = torch.zeros(1, 512), torch.zeros(1, 512)
    private[0, 0], shared[0, 5] = 3.0, 0.2
    assert losses.difference_loss(private, shared).item() == pytest.approx(1 / 512**2, rel=1e-4)


def test_difference_loss_equals_a_plainly_written_one():
    private, shared = torch.randn(8, 512, dtype=torch.float64), torch.randn(8, 512, dtype=torch.float64)
    total = 0.0
    a = private / (private.norm(dim=1)[:, None] + 1e-6)
    b = shared / (shared.norm(dim=1)[:, None] + 1e-6)
    for row in range(0, 512, 64):
        total += torch.stack([(a[:, i, None] * b).sum(0) for i in range(row, row + 64)]).square().sum().item()
    assert losses.difference_loss(private, shared).item() == pytest.approx(total / 512**2, rel=1e-5)


def test_no_gradient_flows_through_the_norms_of_the_difference_loss():
    private = torch.randn(4, 512, requires_grad=True)
    shared = torch.randn(4, 512)
    losses.difference_loss(private, shared).backward()
    fixed = private.detach().clone().requires_grad_()
    norm, other = private.detach().norm(dim=1, keepdim=True) + 1e-6, F.normalize(shared, dim=1)
    ((fixed / norm).T @ other).square().mean().backward()
    torch.testing.assert_close(private.grad, fixed.grad, rtol=1e-3, atol=1e-9)
    assert (private.grad * private.detach()).sum(dim=1).abs().max() > 1e-7
