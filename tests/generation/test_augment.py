"""Augmentation: each operation does what its name says, to each image its own way, and lets gradients through."""

import pytest
import torch

from stages.generation.augment import OPERATIONS, augment, brightness, contrast, cutout, flip, saturation, translation


@pytest.fixture
def images() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(64, 3, 16, 16) * 0.8 + 0.1


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_shape_varies_and_repeats_with_the_seed(name: str, images: torch.Tensor) -> None:
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(augment(images, [name]))
    assert made[0].shape == images.shape
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_lets_gradients_through(name: str, images: torch.Tensor) -> None:
    images.requires_grad_()
    augment(images, [name]).square().sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.3


def test_no_operations_change_nothing(images: torch.Tensor) -> None:
    assert torch.equal(augment(images, []), images)


def test_operations_are_applied_in_the_order_named(images: torch.Tensor) -> None:
    torch.manual_seed(1)
    both = augment(images, ["brightness", "cutout"])
    torch.manual_seed(1)
    assert torch.equal(both, cutout(brightness(images)))


def test_flip_mirrors_about_half_of_the_images(images: torch.Tensor) -> None:
    flipped = flip(images)
    mirrored = [torch.equal(new, old.flip(2)) for new, old in zip(flipped, images, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_translation_shifts_whole_images_by_up_to_an_eighth_over_grey(images: torch.Tensor) -> None:
    shifts = set()
    for new, old in zip(translation(images), images, strict=True):
        padded = torch.nn.functional.pad(old, (2, 2, 2, 2), value=0.5)
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(new, padded[:, y : y + 16, x : x + 16])]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 15


def test_brightness_adds_one_number_of_a_quarter_at_most_to_an_image(images: torch.Tensor) -> None:
    change = (brightness(images) - images).flatten(1)
    torch.testing.assert_close(change, change[:, :1].expand_as(change), rtol=0, atol=1e-6)
    assert 0.2 < change.abs().max() <= 0.25


def test_saturation_keeps_grey_images(images: torch.Tensor) -> None:
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(saturation(grey), grey)
    changed = saturation(images)
    torch.testing.assert_close(changed.mean(1), images.mean(1))
    assert not torch.allclose(changed, images)


def test_contrast_keeps_the_mean_and_scales_the_deviation(images: torch.Tensor) -> None:
    changed = contrast(images)
    torch.testing.assert_close(changed.mean((1, 2, 3)), images.mean((1, 2, 3)))
    ratio = changed.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.49 < ratio.min() < 0.7
    assert 1.3 < ratio.max() < 1.51


def test_cutout_greys_one_rectangle_of_at_most_half_the_sides(images: torch.Tensor) -> None:
    sizes = []
    for new, old in zip(cutout(images), images, strict=True):
        hole = (new == 0.5).all(0)
        assert torch.equal(new[:, ~hole], old[:, ~hole])
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns
        sizes.append((int(rows), int(columns)))
    assert max(sizes) == (8, 8)
    assert min(rows for rows, _ in sizes) >= 4
