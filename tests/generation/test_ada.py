"""Adaptive augmentation: as often as p says; maps and colours are the products of their transforms; p follows the scores."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.generation import ada
from stages.generation.ada import AdaptiveAugmentation, colours, geometry, transformed
from stages.generation.losses import seen_as_real

GEOMETRY = ("mirror", "quarters", "shift", "scale", "turn", "stretch", "turn_again", "move")
COLOURS = ("brightness", "contrast", "luma", "hue", "saturation")
MAYBE = ada._maybe
ALWAYS, NEVER = torch.tensor(1.0), torch.tensor(0.0)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the transforms draw, by name, as they are called."""
    return record(monkeypatch, lambda name: True)


def record(monkeypatch: pytest.MonkeyPatch, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Keeps what is drawn by name, and has only the wanted transforms happen."""
    kept, names = {}, iter([*GEOMETRY, *COLOURS])

    def recording(values: Tensor, neutral: float, p: Tensor) -> Tensor:
        name = next(names)
        kept[name] = MAYBE(values, neutral, p) if wanted(name) else torch.full_like(values, neutral)
        return kept[name]

    monkeypatch.setattr(ada, "_maybe", recording)
    return kept


def only(name: str, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Images after one transform, always applied, and what it has drawn."""
    kept = record(monkeypatch, lambda other: other == name)
    return transformed(images, ALWAYS), kept[name]


def pictures(n: int = 64, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size)


@pytest.mark.parametrize("size", [8, 32, 64])
def test_at_p_0_nothing_changes(size: int) -> None:
    images = pictures(4, size)
    torch.testing.assert_close(transformed(images, NEVER), images, rtol=0, atol=1e-4)


def test_every_transform_happens_with_chance_p_and_both_turns_together_with_p() -> None:
    """What stays as it is: of what is changed, mirror and luma stay half of the time, quarters a quarter, shifts in 1 of 64."""
    p, n = 0.2, 40_000
    maps = geometry(n, 32, torch.tensor(p))
    same = (maps == torch.eye(2, 3)).all((1, 2)).float().mean().item()
    assert same == pytest.approx((1 - p / 2) * (1 - 3 * p / 4) * (1 - p * 63 / 64) * (1 - p) ** 4, abs=0.01)
    matrix, shift = colours(n, torch.tensor(p))
    same = ((matrix - torch.eye(3)).abs().amax((1, 2)) < 1e-6) & (shift.abs().amax((1, 2)) < 1e-6)
    assert same.float().mean().item() == pytest.approx((1 - p / 2) * (1 - p) ** 4, abs=0.01)


def test_at_p_1_maps_have_the_papers_distributions(drawn: dict[str, Tensor]) -> None:
    maps = geometry(40_000, 32, ALWAYS)
    determinant = torch.linalg.det(maps[:, :, :2])
    assert (determinant < 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert determinant.abs().log2().std().item() == pytest.approx(2 * 0.2, rel=0.02)
    largest, least = torch.linalg.svdvals(maps[:, :, :2]).unbind(1)
    assert (largest / least).log2().mean().item() == pytest.approx(2 * 0.2 * math.sqrt(2 / math.pi), rel=0.02)
    pixels = drawn["shift"] * 16
    torch.testing.assert_close(pixels, pixels.round())
    assert pixels.abs().max() == 4 and pixels.std().item() == pytest.approx(4 / math.sqrt(3), rel=0.05)
    assert (drawn["move"] / 2).std().item() == pytest.approx(0.125, rel=0.02)
    assert [(drawn["quarters"] * 2 / math.pi == turns).float().mean().item() for turns in range(4)] == pytest.approx(
        [0.25] * 4, abs=0.02
    )
    for name in ("turn", "turn_again"):
        assert drawn[name].abs().max() <= math.pi and drawn[name].std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.02)


def homogeneous(matrix: Tensor, shift: Tensor | None = None) -> Tensor:
    whole = torch.eye(len(matrix) + 1)
    whole[:-1, :-1] = matrix
    if shift is not None:
        whole[:-1, -1] = shift
    return whole


def test_a_map_is_the_product_of_its_transforms_in_the_papers_order(drawn: dict[str, Tensor]) -> None:
    maps = geometry(20, 32, torch.tensor(0.7))

    def turned(angle: Tensor) -> Tensor:
        return homogeneous(torch.matrix_exp(angle * torch.tensor([[0.0, -1.0], [1.0, 0.0]])))

    for i, found in enumerate(maps):
        one = {name: values[i] for name, values in drawn.items()}
        product = homogeneous(torch.diag(torch.stack([one["mirror"], torch.tensor(1.0)]))) @ turned(one["quarters"])
        product = product @ homogeneous(torch.eye(2), one["shift"]) @ homogeneous(one["scale"] * torch.eye(2))
        product = product @ turned(one["turn"]) @ homogeneous(torch.diag(torch.stack([one["stretch"], 1 / one["stretch"]])))
        product = product @ turned(one["turn_again"]) @ homogeneous(torch.eye(2), one["move"])
        torch.testing.assert_close(found, product[:2], rtol=1e-4, atol=1e-4)


def test_colours_are_the_transforms_one_after_the_other_on_values_from_minus_one(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = record(monkeypatch, lambda name: name in COLOURS)
    images = pictures(20)
    found = transformed(images, torch.tensor(0.8))
    axis = torch.ones(3) / math.sqrt(3)
    along = torch.outer(axis, axis)
    for i, image in enumerate(images):
        one = {name: drawn[name][i] for name in COLOURS}
        steps = [homogeneous(torch.eye(3), one["brightness"].expand(3)), homogeneous(one["contrast"] * torch.eye(3))]
        steps.append(homogeneous(torch.eye(3) - (1 - one["luma"]) * along))
        steps.append(homogeneous(torch.matrix_exp(one["hue"] * torch.linalg.cross(axis.expand(3, 3), torch.eye(3)).T)))
        steps.append(homogeneous(along + one["saturation"] * (torch.eye(3) - along)))
        values = torch.cat([2 * image.flatten(1) - 1, torch.ones(1, 256)])
        for step in steps:
            values = step @ values
        torch.testing.assert_close(found[i].flatten(1), (values[:3] + 1) / 2, rtol=1e-3, atol=1e-3)


def test_mirrored_turned_and_shifted_pixels_are_those_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    mirrored, sign = only("mirror", images, monkeypatch)
    expected = torch.where(sign[:, None, None, None] < 0, images.flip(3), images)
    torch.testing.assert_close(mirrored, expected, rtol=0, atol=1e-4)
    assert 16 < (sign < 0).sum() < 48
    turned, angle = only("quarters", images, monkeypatch)
    for new, old, quarters in zip(turned, images, (angle * 2 / math.pi).round().int().tolist(), strict=True):
        torch.testing.assert_close(new, old.rot90(quarters, (1, 2)), rtol=0, atol=1e-4)
    shifted, move = only("shift", images, monkeypatch)
    for new, old, (x, y) in zip(shifted, images, (move * 8).round().int().tolist(), strict=True):
        inside = torch.nn.functional.pad(old, (2, 2, 2, 2), mode="replicate")[:, 2 + y : 18 + y, 2 + x : 18 + x]
        torch.testing.assert_close(new[:, 2:-2, 2:-2], inside[:, 2:-2, 2:-2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_hue_and_saturation_keep_greys_and_the_luma_of_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    changed, _ = only(name, images, monkeypatch)
    torch.testing.assert_close(changed.mean(1), images.mean(1), rtol=0, atol=1e-4)
    assert not torch.allclose(changed, images, atol=0.1)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(only(name, grey, monkeypatch)[0], grey, rtol=0, atol=1e-4)


def test_mirrored_luma_makes_white_black_and_keeps_hues(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures()
    changed, sign = only("luma", images, monkeypatch)
    mean = images.mean(1, keepdim=True)
    expected = torch.where(sign[:, None, None, None] < 0, images - mean + 1 - mean, images)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-4)


def test_every_image_is_changed_in_its_own_way_and_the_same_with_the_seed() -> None:
    images = pictures(1).expand(64, -1, -1, -1)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(transformed(images, ALWAYS))
    assert made[0].shape == images.shape and torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert len({image.numpy().tobytes() for image in made[0]}) == 64


def test_gradients_come_through_to_all_that_is_still_in_the_image() -> None:
    images = pictures().requires_grad_()
    transformed(images, torch.tensor(0.5)).square().sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.6


def test_deterministic_sampling_has_the_same_images_and_gradients_without_the_kernel_that_adds_in_any_order() -> None:
    images, places = pictures(4).requires_grad_(), 2.5 * torch.rand(4, 16, 16, 2) - 1.25
    weights, found = torch.randn(4, 3, 16, 16), []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        sampled = ada.sampled(images, places)
        torch.use_deterministic_algorithms(False)
        found.append([sampled, *torch.autograd.grad((sampled * weights).sum(), images, retain_graph=True)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
    assert ["GridSampler" in name for name in (kinds(found[0][0]), kinds(found[1][0]))] == [True, False]


def kinds(tensor: Tensor) -> str:
    """The names of all steps of its backward pass."""
    names, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        names.add(node.name())
        waiting += [one for one, _ in node.next_functions if one is not None]
    return " ".join(names)


def adapted(signs: list[float], **changes: object) -> list[float]:
    """p after each step."""
    one = AdaptiveAugmentation(**{"target": 0.6, "images": 160, "batch_size": 4} | changes)
    return [one.adapt(step, torch.tensor(sign)).item() for step, sign in enumerate(signs, start=1)]


def test_p_changes_every_four_steps_and_takes_so_many_images_from_0_to_1() -> None:
    p = adapted([1.0] * 44)
    assert p[:3] == [0.0] * 3 and p[3:7] == pytest.approx([0.1] * 4)
    assert p[38] < 1 and p[39] == pytest.approx(1) and p[43] == pytest.approx(1)
    assert adapted([1.0] * 12 + [0.0] * 16)[-1] == 0


def test_p_follows_the_mean_sign_of_the_steps_since_its_last_change() -> None:
    assert adapted([1.0, 1.0, 1.0, -0.5])[-1] == pytest.approx(0.1)
    assert adapted([1.0, 1.0, 1.0, -0.7])[-1] == 0.0


@pytest.mark.parametrize(("form", "real"), [("non_saturating", 3.0), ("hinge_inverted", -3.0)])
def test_the_sign_of_an_image_seen_as_real_is_positive_in_every_form(form: str, real: float) -> None:
    scores = seen_as_real(form, torch.tensor([real, -real]))
    assert scores.sign().tolist() == [1, -1]
