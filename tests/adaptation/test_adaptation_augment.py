"""Augmentation of source images."""

import math
from itertools import permutations

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_saturation

from stages.adaptation import augment


def pictures(n=16):
    return torch.rand(n, 3, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", ["none", "jitter", "strong"])
def test_augmented_images_keep_shape_and_range(name):
    images = augment.named(name)(pictures())
    assert images.shape == (16, 3, 28, 28)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize("name", ["jitter", "strong"])
def test_augmentation_follows_torch_s_seed_and_changes_images(name):
    images = pictures()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment.named(name)(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert (results[0] - images).abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_none_changes_nothing():
    images = pictures()
    assert torch.equal(augment.named("none")(images), images)


def test_jitter_is_torchvision_s_three_operations_in_every_order():
    images, orders, seen = (pictures(64) + 1) / 2, list(permutations(range(3))), set()
    torch.manual_seed(0)
    result = (augment.jitter(pictures(64)) + 1) / 2
    torch.manual_seed(0)
    factors = [torch.rand(64, 1, 1, 1) * (high - low) + low for low, high in ((0.753, 1.247), (0.2, 1.8), (0.5, 1.5))]
    operations = adjust_brightness, adjust_contrast, adjust_saturation
    for number in range(64):
        wanted = []
        for order in orders:
            image = images[number]
            for operation in order:
                image = operations[operation](image, factors[operation][number].item())
            wanted.append(image)
        away = torch.stack([(result[number] - image).abs().max() for image in wanted])
        # torchvision's grey has other last digits: 0.2989, 0.587, 0.114.
        assert away.min() < 5e-4
        seen.add(int(away.argmin()))
    assert len(seen) == len(orders)


def test_jitter_keeps_grey_images_grey_and_treats_each_image_by_itself():
    images = torch.full((32, 3, 28, 28), 0.2)
    torch.manual_seed(0)
    result = augment.jitter(images)
    torch.testing.assert_close(result[:, 0], result[:, 1])
    levels = (result[:, 0, 0, 0] + 1) / 2
    assert levels.std() > 0.05
    assert levels.min() >= 0.6 * 0.753 - 1e-5
    assert levels.max() <= 0.6 * 1.247 + 1e-5


def test_strong_paints_grey_digits_in_colour_and_both_ways_round():
    images = torch.full((256, 3, 28, 28), -1.0)
    images[:, :, 8:20, 8:20] = 1.0
    torch.manual_seed(0)
    result = augment.strong(images)
    assert (result[:, 0] - result[:, 1]).abs().mean() > 0.1
    inside, outside = augment.grey(result)[:, 0, 12:16, 12:16].mean((1, 2)), augment.grey(result)[:, 0, :3].mean((1, 2))
    assert 0.3 < (inside > outside).float().mean().item() < 0.7


def test_warp_without_range_is_the_identity():
    images = pictures()[:, :1]
    same = augment.warp(images, turn=0.0, zoom=(1.0, 1.0), shear=0.0, shift=0.0, narrow=1.0)
    torch.testing.assert_close(same, images, rtol=0, atol=1e-5)


def test_warp_reads_where_its_matrices_lead(monkeypatch):
    ranges, places = [], []

    def drawn(images, *ends):
        # The upper end of all, but the lower one of the last, the move downwards.
        ranges.append(ends)
        return torch.full((len(images),), ends[len(ranges) < 6])

    monkeypatch.setattr(augment, "_uniform", drawn)
    monkeypatch.setattr(F, "affine_grid", lambda theta, size, align_corners: places.append(theta) or torch.zeros(2, 4, 4, 2))
    augment.warp(torch.zeros(2, 1, 4, 4))
    assert ranges == [(-15, 15), (0.7, 1.35), (1, 1.4), (-0.25, 0.25), (-0.12, 0.12), (-0.12, 0.12)]
    cos, sin = math.cos(math.radians(15)), math.sin(math.radians(15))
    turned = torch.tensor([[cos, -sin], [sin, cos]]) @ torch.tensor([[1.0, 0.25], [0.0, 1.0]])
    matrix = torch.diag(torch.tensor([1.4 / 1.35, 1 / 1.35])) @ turned
    expected = torch.cat([matrix, torch.tensor([[0.12], [-0.12]])], dim=1)
    torch.testing.assert_close(places[0], expected.expand(2, 2, 3))


def test_thickened_is_max_pooling_also_of_negative_values_and_at_the_edges():
    ink = -torch.rand(3, 1, 7, 5)
    assert torch.equal(augment.thickened(ink), F.max_pool2d(ink, 3, 1, 1))
