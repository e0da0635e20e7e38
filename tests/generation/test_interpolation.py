"""Rows go from one face to another in equal steps, the same every time."""

import numpy as np
import pytest
import torch

from stages.generation.sample_stylegan2 import COLUMNS, ROWS, interpolate
from stages.generation.stylegan2 import StyleGAN2
from stages.runtime.schema import Sampling, StyleGAN2Sample

SETTINGS = StyleGAN2Sample(
    mean_style="sampled", mean_latents=10, report=Sampling(count=4, psi=0.75), clean=Sampling(count=4, psi=1.0)
)


@pytest.fixture
def faces():
    torch.manual_seed(0)
    return StyleGAN2(16, latent_dim=32, capacity=2, fmap_max=32, attention_layers=[1], attention_heads=1)


def test_every_row_is_its_own_and_ends_at_another_face_than_it_began(faces):
    images = interpolate(faces, SETTINGS, 0)
    assert images.shape == (ROWS, COLUMNS, 16, 16, 3) and images.dtype == np.uint8
    assert len({row.tobytes() for row in images}) == ROWS
    assert all(not np.array_equal(row[0], row[-1]) for row in images)


def test_the_same_seed_gives_the_same_rows_and_another_one_others(faces):
    assert np.array_equal(interpolate(faces, SETTINGS, 0), interpolate(faces, SETTINGS, 0))
    assert not np.array_equal(interpolate(faces, SETTINGS, 0), interpolate(faces, SETTINGS, 1))


def test_styles_change_by_equal_steps(faces, monkeypatch):
    styles = []
    spread = faces.spread
    monkeypatch.setattr(faces, "spread", lambda w: styles.append(w) or spread(w))
    interpolate(faces, SETTINGS, 0)
    steps = torch.stack(styles).diff(dim=0)
    assert len(steps) == COLUMNS - 1
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-6)


def test_with_psi_0_every_face_is_the_mean_one_under_its_row_s_noise(faces):
    settings = SETTINGS.model_copy(update={"report": Sampling(count=4, psi=0.0)})
    for row in interpolate(faces, settings, 0):
        assert all(np.array_equal(row[0], image) for image in row)
