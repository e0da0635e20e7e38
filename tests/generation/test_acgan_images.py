"""stages.generation.acgan_images: sizes, order, and the two ways of batch norm when images are made."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision.utils import save_image

from stages.generation.acgan import Generator
from stages.generation.acgan_images import crop, enlarge, pad, reduce, reduce_as_report, render
from stages.runtime.device import to_float, to_uint8


class Paint(nn.Module):
    """Stands for the generator: an image is as bright as its label says, plus its latent's first number."""

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        value = (labels * 20 + latents[:, 0]) / 127.5 - 1
        return value[:, None, None, None].expand(-1, 3, 32, 32)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_enlarged_images_are_bilinear():
    images = torch.from_numpy(noise(5, 28, 28, 3))
    larger = enlarge(images)
    assert larger.shape == (5, 3, 32, 32)
    expected = F.interpolate(images.permute(0, 3, 1, 2).double(), size=32, mode="bilinear")
    assert ((larger.double() + 1) * 127.5 - expected).abs().max() <= 0.501


def test_enlarged_images_are_those_of_a_data_set_that_is_stored_at_the_larger_size():
    images = torch.from_numpy(noise(50, 28, 28, 3))
    stored = to_uint8(F.interpolate(to_float(images), size=32, mode="bilinear"))
    assert torch.equal(enlarge(images), to_float(stored))
    assert enlarge(images).is_contiguous(memory_format=torch.channels_last)


def test_reduced_images_are_pils():
    images = noise(3, 32, 32, 3)
    expected = np.asarray(Image.fromarray(images[2]).resize((28, 28), Image.Resampling.BILINEAR))
    assert np.array_equal(reduce(images)[2], expected)
    assert reduce(images).shape == (3, 28, 28, 3)


def test_a_flat_image_survives_both_ways():
    flat = np.full((1, 28, 28, 3), 77, dtype=np.uint8)
    assert np.array_equal(reduce(to_uint8(enlarge(torch.from_numpy(flat))).numpy()), flat)


def test_padding_and_cropping_lose_nothing_and_the_border_mirrors_the_image():
    images = torch.from_numpy(noise(5, 28, 28, 3))
    padded = pad(images)
    assert padded.shape == (5, 3, 32, 32) and padded.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(crop(padded), images.numpy())
    assert torch.equal(padded[:, :, :, 1], padded[:, :, :, 3]) and torch.equal(padded[:, :, 31], padded[:, :, 27])


def test_rendering_in_the_cropped_form_cuts_the_border_off():
    torch.manual_seed(0)
    generator, latents = Generator().eval(), torch.randn(10, 100)
    whole = to_uint8(generator(latents, torch.arange(10)).detach()).numpy()
    assert np.abs(render(generator, latents, form="crop").astype(int) - whole[:, 2:30, 2:30]).max() <= 1


def test_the_studys_form_is_what_torchvision_saves_of_each_image_alone(tmp_path):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).tanh()
    images[1] = images[1] * 0.3 + 0.2
    images[3] = 0.5
    stored = reduce_as_report(images)
    assert stored.shape == (4, 28, 28, 3)
    for image, ours in zip(images, stored, strict=True):
        smaller = F.interpolate(image[None], size=(28, 28), mode="bilinear", align_corners=False, antialias=False)
        save_image(smaller, tmp_path / "image.png", normalize=True)
        theirs = np.asarray(Image.open(tmp_path / "image.png"))
        assert np.abs(ours.astype(int) - theirs).max() <= 1
        assert (ours == theirs).mean() > 0.999
    assert [(image.min(), image.max()) for image in stored[:3]] == [(0, 255)] * 3
    assert stored[3].max() < 10


def test_rendering_in_the_studys_form_keeps_the_order_and_stretches_each_image():
    torch.manual_seed(0)
    generator, latents = Generator().eval(), torch.randn(30, 100)
    expected = generator(latents, torch.arange(10).repeat_interleave(3)).detach()
    images = render(generator, latents, form="report")
    assert np.abs(images.astype(int) - reduce_as_report(expected)).max() <= 1
    assert all(image.min() == 0 and image.max() == 255 for image in images)
    assert not np.array_equal(images, render(generator, latents))


@pytest.mark.parametrize("per_class", [1, 10, 13])
def test_images_come_in_the_order_of_the_classes_and_of_their_latents(per_class):
    latents = torch.zeros(10 * per_class, 100)
    latents[:, 0] = torch.arange(per_class).repeat(10)
    images = render(Paint(), latents)
    assert images.shape == (10 * per_class, 28, 28, 3)
    assert images.dtype == np.uint8
    expected = np.repeat(np.arange(10), per_class) * 20 + np.tile(np.arange(per_class), 10)
    assert np.array_equal(images[:, 5, 5, 0], expected)


def test_eval_mode_makes_each_image_by_itself_and_batch_mode_does_not():
    torch.manual_seed(0)
    generator, latents = Generator(), torch.randn(20, 100)
    changed = latents.clone()
    changed[1] = torch.randn(100)
    for batch_norm, alone in (("eval", True), ("batch", False)):
        same = render(generator, latents, batch_norm)[[0, *range(2, 20)]]
        assert np.array_equal(same, render(generator, changed, batch_norm)[[0, *range(2, 20)]]) is alone


def test_batch_mode_uses_a_batch_of_ten_images_a_class():
    torch.manual_seed(0)
    generator, latents = Generator(), torch.randn(200, 100)
    columns = latents.view(10, 20, 100)[:, 10:].reshape(100, 100)
    expected = generator.train()(columns, torch.arange(10).repeat_interleave(10)).detach()
    images = render(generator, latents, "batch").reshape(10, 20, 28, 28, 3)[:, 10:]
    assert np.array_equal(images.reshape(100, 28, 28, 3), reduce(to_uint8(expected).numpy()))


@pytest.mark.parametrize("batch_norm", ["eval", "batch"])
def test_rendering_leaves_the_generator_as_it_was(batch_norm):
    generator = Generator().train()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    render(generator, torch.randn(10, 100), batch_norm)
    assert generator.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
