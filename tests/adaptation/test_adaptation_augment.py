"""Augmentation of source images."""

import math
from itertools import pairwise, permutations

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


def test_strong_stretches_warps_restrokes_adds_neighbours_and_paints_one_after_the_other(monkeypatch):
    names, steps = ("_stretched", "warp", "_restroke", "_with_neighbours", "_paint"), []

    def spied(name, step):
        def taken(given):
            steps.append((name, given, step(given)))
            return steps[-1][2]

        return taken

    for name in names:
        monkeypatch.setattr(augment, name, spied(name, getattr(augment, name)))
    torch.manual_seed(0)
    result = augment.strong(0.5 * pictures())
    assert tuple(name for name, _, _ in steps) == names
    torch.testing.assert_close(steps[0][1], augment.grey((0.5 * pictures() + 1) / 2))
    assert all(given is made for (_, _, made), (_, given, _) in pairwise(steps))
    for name, given, made in steps:
        assert (made - given).abs().amax(dim=(1, 2, 3)).max() > 0.1, f"{name} changes nothing"
    assert (steps[0][2].amin((1, 2, 3)) == 0).all() and (steps[0][2].amax((1, 2, 3)) == 1).all()
    # What is left to do is blur and noise.
    assert 0.01 < ((result + 1) / 2 - steps[-1][2]).abs().mean() < 0.1


def test_strong_blurs_what_is_painted_by_any_share_and_adds_noise_of_any_strength_up_to_a_limit(monkeypatch):
    painted = torch.full((400, 3, 28, 28), 0.3)
    painted[..., 14:] = 0.7
    monkeypatch.setattr(augment, "_paint", lambda ink: painted)
    torch.manual_seed(0)
    result = (augment.strong(pictures(400)) + 1) / 2
    # Blurred altogether, the columns at the edge take a third of the way to the other side.
    blurred = (result[..., 13].mean((1, 2)) - 0.3) / (0.4 / 3)
    noise = result[..., :13].std((1, 2, 3))
    for share in (blurred, noise / 0.08):
        assert -0.2 < share.min() < 0.1 and 0.9 < share.max() < 1.2 and share.mean().item() == pytest.approx(0.5, abs=0.05)


def test_half_of_the_strokes_get_thicker_and_the_others_thinner_each_to_its_own_degree():
    ink = torch.zeros(2000, 1, 28, 28)
    ink[..., 10:18, 10:18] = 1
    torch.manual_seed(0)
    result = augment._restroke(ink)
    gained, lost = result[..., 9, 9], 1 - result[..., 10, 10]
    expected = torch.zeros_like(ink)
    expected[..., 9:19, 9:19] = gained[..., None, None]
    expected[..., 10:18, 10:18] = 1 - lost[..., None, None]
    expected[..., 11:17, 11:17] = 1
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert ((gained > 0) ^ (lost > 0)).all()
    # Thicker by up to all that a 3x3 square adds, thinner by up to 0.6 of what it takes.
    for change, most in ((gained, 1.0), (lost, 0.6)):
        changed = change[change > 0]
        assert len(changed) / len(ink) == pytest.approx(0.5, abs=0.05)
        assert 0.99 * most < changed.max() <= most and changed.mean().item() == pytest.approx(most / 2, rel=0.05)


def test_neighbours_are_the_images_one_and_two_rows_before_at_the_right_and_at_the_left_of_half_of_the_images():
    faint, mixed, seen, present = 0.05, 0, {"right": set(), "left": set()}, {"right": [], "left": []}
    for seed in range(60):
        torch.manual_seed(seed)
        # Every third image is brighter than all the others: only its digit shows where two overlap.
        ink = torch.full((30, 1, 28, 28), faint)
        ink[2::3] += torch.rand(10, 1, 28, 28)
        result = augment._with_neighbours(ink)
        assert torch.equal(result[2::3], ink[2::3])
        # The first rows' neighbours are the last row's image.
        bright = ink[2::3].roll(1, 0)
        for side, images, neighbours in (("right", result[0::3], bright), ("left", result[1::3].flip(3), bright.flip(3))):
            there = (images != faint).any(3).any(2).any(1)
            away = int((images[there] == faint).all(2).all(1).all(0).sum())
            expected = F.pad(neighbours[there], (away, 0), value=faint)[..., :28]
            assert torch.equal(images[there], expected)
            seen[side] |= {away} if there.any() else set()
            present[side] += there.tolist()
            mixed += int(there.any() and not there.all())
    for side in ("right", "left"):
        # From 0.45 of the width to less than 0.7.
        assert seen[side] == set(range(12, 19))
        assert sum(present[side]) / len(present[side]) == pytest.approx(0.5, abs=0.05)
    # Each image has or lacks them by itself.
    assert mixed > 110


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
