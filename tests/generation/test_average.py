"""The moving averages of StyleGAN2's training: when and how far each form moves, and that the training follows."""

import numpy as np
import pytest
import torch

from stages.generation.average import ema_weight
from stages.runtime import schema
from tests.generation.tiny_stylegan2 import SETTINGS, build


@pytest.mark.parametrize(
    ("step", "weight"),
    [
        (1, None),
        (2, 1.0),
        (1002, 1.0),
        (1010, None),
        (24_002, 1.0),
        (24_005, None),
        (24_010, 0.005),
        (25_002, None),
        (25_010, 0.005),
    ],
)
def test_the_reports_average_is_copied_first_and_moves_every_ten_steps_later(step: int, weight: float | None) -> None:
    assert ema_weight(average("report", ema_decay=0.995), step) == (None if weight is None else pytest.approx(weight))


def test_the_constant_average_moves_every_step_and_further_at_first() -> None:
    use = average("constant", ema_decay=0.99)
    assert ema_weight(use, 5000) == pytest.approx(0.01)
    assert ema_weight(use, 1) > 0.9
    assert all(ema_weight(use, step) >= ema_weight(use, step + 1) for step in range(1, 2000))


@pytest.mark.parametrize("batch_size", [4, 16])
def test_by_half_life_a_generators_share_halves_over_so_many_images(batch_size: int) -> None:
    use = average("half_life", ema_half_life=160, ema_rampup=None, batch_size=batch_size)
    shares = [1 - ema_weight(use, step) for step in range(1, 1 + 160 // batch_size)]
    assert np.prod(shares) == pytest.approx(0.5) and len(set(shares)) == 1


def test_the_half_life_is_at_most_the_ramp_ups_share_of_the_images_so_far() -> None:
    """Half-life 160 images, 4 a step, ramp-up 0.1: of 400 images, after 100 steps, the share is 40, and 160 from step 400 on."""
    use = average("half_life", ema_half_life=160, ema_rampup=0.1, batch_size=4)
    assert 1 - ema_weight(use, 100) == pytest.approx(0.5 ** (4 / 40))
    assert 1 - ema_weight(use, 399) < 1 - ema_weight(use, 400) == 1 - ema_weight(use, 4000) == pytest.approx(0.5 ** (4 / 160))
    assert ema_weight(use, 1) > 0.99


def average(form: str, **changes: object) -> schema.StyleGAN2Train:
    return SETTINGS.model_copy(update={"ema": form, **changes})


def test_the_average_follows_its_formula() -> None:
    model = build()
    before = model.average.generator.constant.clone()
    torch.nn.init.normal_(model.faces.generator.constant)
    model._update_average(2000)
    expected = 0.9 * before + 0.1 * model.faces.generator.constant
    torch.testing.assert_close(model.average.generator.constant, expected)


def test_the_mean_style_is_the_moving_mean_of_the_first_slots_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(accumulation=2)
    seen = []
    styles = model._styles
    monkeypatch.setattr(model, "_styles", lambda: seen.append(styles()) or seen[-1])
    expected = torch.zeros(16)
    for step in (1, 2, 5000):
        seen.clear()
        model._update_generator(step)
        assert len(seen) == 2
        expected = expected.lerp(torch.cat(seen)[:, 0].mean(0).detach(), {1: 10 / 11, 2: 10 / 12, 5000: 0.002}[step])
        torch.testing.assert_close(model.mean_style, expected)
