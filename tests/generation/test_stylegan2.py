"""The networks: sizes as in the report, and layers equal to plainly written ones."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stages.generation.attention import ChannelNorm, attention
from stages.generation.stylegan2 import (
    Discriminator,
    EqualLinear,
    GeneratorBlock,
    Mapping,
    MinibatchStddev,
    ModulatedConv,
    StyleGAN2,
    blur,
    bordered,
)

SMALL = {"capacity": 2, "fmap_max": 16, "attention_layers": [1], "attention_heads": 2}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_at_64_pixels_are_the_reports() -> None:
    faces = StyleGAN2(64, 512, capacity=16, fmap_max=512, attention_layers=[1], attention_heads=8)
    critic = Discriminator(64, capacity=16, fmap_max=512, attention_layers=[1], attention_heads=8)
    assert parameters(faces.generator) == 11_365_088
    assert parameters(faces.mapping) == 2_101_248
    assert parameters(critic) == 22_827_713
    assert [parameters(layer) for layer in faces.generator.attention.values()] == [148_544]
    assert [parameters(layer) for layer in critic.attention.values()] == [148_544]
    assert faces.generator.slots == 5


def steps(module: nn.Module) -> list[str]:
    """The lines of a printed module, without its inner parts: `name kind(channels`."""
    return [line.strip() for line in repr(module).splitlines() if line.startswith("  (")]


def test_the_printed_generator_shows_the_reports_blocks_in_their_order() -> None:
    generator = StyleGAN2(64, 512, capacity=16, fmap_max=512, attention_layers=[1], attention_heads=8).generator
    printed = repr(generator)
    convolutions = re.findall(
        r"\((conv1|conv2|to_rgb)\): ModulatedConv\(\s+(\d+), (\d+), kernel_size=(\d), demodulate=(\w+)", printed
    )
    assert [line.split(":")[0] for line in steps(generator)] == [
        *("(constant)", "(initial)", "(blocks.0)", "(blocks.1)", "(blocks.2)", "(blocks.3)", "(attention.4)", "(blocks.4)")
    ]
    assert convolutions == [
        row
        for before, after in (("512", "512"), ("512", "256"), ("256", "128"), ("128", "64"), ("64", "32"))
        for row in (
            ("conv1", before, after, "3", "True"),
            ("conv2", after, after, "3", "True"),
            ("to_rgb", after, "3", "1", "False"),
        )
    ]
    assert re.findall(r"\(noise[12]\): Linear\(in_features=1, out_features=(\d+)", printed) == [
        width for width in ("512", "256", "128", "64", "32") for _ in range(2)
    ]
    middle = [line.split(":")[0] for line in steps(generator.blocks[1])]
    assert middle == [
        *("(upsample)", "(conv1)", "(noise1)", "(activation1)", "(conv2)", "(noise2)", "(activation2)"),
        *("(to_rgb)", "(upsample_rgb)", "(blur_rgb)"),
    ]
    assert "(upsample)" not in repr(generator.blocks[0]) and "_rgb)" not in repr(generator.blocks[4]).replace("(to_rgb)", "")
    assert "ChannelNorm(64)" in printed and "heads=8" in printed and "Conv2d(64, 1024, kernel_size=(1, 1)" in printed


def test_the_printed_discriminator_shows_the_reports_blocks_in_their_order() -> None:
    critic = Discriminator(64, capacity=16, fmap_max=512, attention_layers=[1], attention_heads=8)
    assert [line.split(":")[0] for line in steps(critic)] == [
        *("(blocks.0)", "(attention.0)", "(blocks.1)", "(blocks.2)", "(blocks.3)", "(blocks.4)", "(blocks.5)"),
        *("(final)", "(flatten)", "(score)"),
    ]
    widths = (3, 64, 128, 256, 512, 512, 512)
    for i, (block, before, after) in enumerate(zip(critic.blocks, widths, widths[1:], strict=False)):
        stride = 1 if i == 5 else 2
        expected = [
            f"(shortcut): Conv2d({before}, {after}, kernel_size=(1, 1), stride=({stride}, {stride}))",
            f"(conv1): Conv2d({before}, {after}, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
            "(activation1): LeakyReLU(0.2)",
            f"(conv2): Conv2d({after}, {after}, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
            "(activation2): LeakyReLU(0.2)",
            "(blur): Blur([1, 2, 1])",
            f"(down): Conv2d({after}, {after}, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))",
        ]
        assert steps(block) == expected[: 5 if i == 5 else 7]
    assert steps(critic)[-1] == "(score): Linear(in_features=2048, out_features=1, bias=True)"


def test_attention_sits_before_the_last_generator_block_and_after_the_first_of_the_discriminator() -> None:
    faces = StyleGAN2(32, 16, **SMALL)
    critic = Discriminator(32, **SMALL)
    seen = {}
    faces.generator.attention["3"].register_forward_hook(lambda _, given, __: seen.update(generator=given[0].shape))
    critic.attention["0"].register_forward_hook(lambda _, given, __: seen.update(discriminator=given[0].shape))
    critic(faces(torch.randn(2, 16), torch.rand(2, 32, 32)))
    assert seen == {"generator": (2, 8, 16, 16), "discriminator": (2, 8, 16, 16)}


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_every_power_of_two_from_8_on_works(size: int) -> None:
    faces = StyleGAN2(size, 16, **SMALL)
    images = faces(torch.randn(2, 16), torch.rand(2, size, size))
    assert images.shape == (2, 3, size, size)
    assert Discriminator(size, **SMALL)(images).shape == (2,)


@pytest.mark.parametrize("size", [4, 12, 48])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Discriminator(size, **SMALL)


def test_an_attention_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"within 1\.\.3"):
        StyleGAN2(16, 16, **SMALL | {"attention_layers": [4]})


def test_demodulated_output_has_unit_variance_whatever_the_style() -> None:
    layer = ModulatedConv(64, 32, 3, 8)
    y = layer(torch.randn(16, 64, 16, 16), 20 * torch.randn(16, 8))[:, :, 1:-1, 1:-1]
    variance = y.var((2, 3))
    assert abs(variance.mean() - 1) < 0.05
    assert variance.min() > 0.4


def test_without_demodulation_the_style_sets_the_variance() -> None:
    layer = ModulatedConv(64, 32, 3, 8, demodulate=False)
    x, w = torch.randn(4, 64, 16, 16), torch.randn(4, 8)
    assert layer(x, 20 * w).var() > 20 * layer(x, w).var()


def test_linear_attention_is_the_same_in_channels_last_order() -> None:
    layer = attention(8, heads=2)
    x = torch.randn(2, 8, 4, 4)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), expected, rtol=1e-5, atol=1e-5)


def test_channel_norm_equals_its_formula() -> None:
    layer = ChannelNorm(5)
    nn.init.normal_(layer.g)
    nn.init.normal_(layer.b)
    x = torch.randn(2, 5, 3, 3)
    spread = ((x - x.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True).sqrt()
    expected = (x - x.mean(1, keepdim=True)) / (spread + 1e-5) * layer.g.view(1, 5, 1, 1) + layer.b.view(1, 5, 1, 1)
    torch.testing.assert_close(layer(x), expected)


def test_the_minibatch_standard_deviation_is_one_channel_that_says_how_much_a_group_differs() -> None:
    alike, apart = torch.ones(2, 3, 2, 2), torch.tensor([1.0, 5.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    x = torch.cat([alike, apart])
    out = MinibatchStddev(2)(x)
    assert out.shape == (4, 4, 2, 2) and torch.equal(out[:, :3], x)
    expected = torch.tensor([1e-4, 1e-4, 2.0, 2.0]).view(4, 1, 1).expand(4, 2, 2)
    torch.testing.assert_close(out[:, 3], expected)


def test_groups_hold_real_or_generated_images_and_scores_know_of_no_other_group() -> None:
    critic = Discriminator(16, **SMALL, minibatch_stddev=2)
    real, fake = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
    together = critic(torch.cat([real, fake]))
    torch.testing.assert_close(together, torch.cat([critic(real), critic(fake)]))
    torch.testing.assert_close(together[:2], critic(real[:2]))
    assert not torch.allclose(critic(real[:1].repeat(2, 1, 1, 1)), critic(real[[0, 1]])[:1])


def test_the_minibatch_standard_deviation_can_be_differentiated_twice_where_all_images_are_the_same() -> None:
    layer, weight = MinibatchStddev(2), torch.ones(1, requires_grad=True)
    x = torch.ones(2, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad((weight * layer(x)).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert weight.grad.isfinite().all() and x.grad.isfinite().all()


def test_blur_equals_a_convolution_with_the_outer_product() -> None:
    x = torch.randn(2, 3, 8, 8)
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel.expand(3, 1, 3, 3), groups=3)
    torch.testing.assert_close(blur(x), expected)


def test_deterministic_borders_are_the_same_with_the_same_first_and_second_gradients() -> None:
    x, weights = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(2, 3, 10, 10)
    found = []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        y = bordered(x)
        torch.use_deterministic_algorithms(False)
        (gradient,) = torch.autograd.grad((y.square() * weights).sum(), x, create_graph=True)
        found.append([y, gradient, *torch.autograd.grad(gradient.square().sum(), x)])
    assert torch.equal(found[0][0], found[1][0])
    assert "ReflectionPad2D" in found[0][0].grad_fn.name() and "Cat" in found[1][0].grad_fn.name()
    torch.testing.assert_close(found[0], found[1])


def test_a_faded_generator_makes_the_same_images_times_the_contrast() -> None:
    faces = StyleGAN2(16, latent_dim=16, **SMALL)
    given = torch.randn(3, 16), torch.rand(3, 16, 16)
    before = faces(*given)
    faces.generator.fade(0.1)
    torch.testing.assert_close(faces(*given), before / 10)


def test_mapping_sees_only_the_direction_of_z() -> None:
    mapping = Mapping(16)
    z = torch.randn(4, 16)
    torch.testing.assert_close(mapping(7 * z), mapping(z))
    assert not torch.allclose(mapping(-z), mapping(z))


def test_equal_linear_learns_at_a_tenth_of_the_rate() -> None:
    layer = EqualLinear(8)
    x = torch.randn(2, 8)
    torch.testing.assert_close(layer(x), 0.1 * x @ layer.weight.T)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((8,), 0.2))


def test_noise_is_silent_at_first_and_loud_once_learnt() -> None:
    faces = StyleGAN2(16, 16, **SMALL)
    z = torch.randn(2, 16)
    one, other = torch.rand(2, 16, 16), torch.rand(2, 16, 16)
    torch.testing.assert_close(faces(z, one), faces(z, other))
    for layer in [m for m in faces.modules() if isinstance(m, GeneratorBlock)]:
        nn.init.ones_(layer.noise1.weight)
    assert not torch.allclose(faces(z, one), faces(z, other))


def test_noise_is_a_linear_layer_over_the_cropped_map() -> None:
    block = GeneratorBlock(4, 5, 8, first=True, last=True)
    for layer in (block.noise1, block.noise2):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    x, w, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 8), torch.rand(2, 8, 8)
    crop = noise[:, :4, :4, None]
    y = F.leaky_relu(block.conv1(x, w) + block.noise1(crop).permute(0, 3, 1, 2), 0.2)
    y = F.leaky_relu(block.conv2(y, w) + block.noise2(crop).permute(0, 3, 1, 2), 0.2)
    torch.testing.assert_close(block(x, None, w, noise)[0], y)


def test_initial_weights_have_variance_two_over_fan_in() -> None:
    critic = Discriminator(32, capacity=16, fmap_max=128, attention_layers=[])
    layer = critic.blocks[2].conv2
    assert abs(layer.weight.var() / (2 / (9 * 128)) - 1) < 0.05
    modulated = ModulatedConv(128, 128, 3, 512)
    assert abs(modulated.weight.var() / (2 / (9 * 128)) - 1) < 0.05


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_style_mixing_takes_the_first_slots_from_z(cut: int) -> None:
    faces = StyleGAN2(16, 16, **SMALL)
    z, other = torch.randn(1, 16), torch.randn(1, 16)
    styles = faces.mix(z, other, torch.tensor([cut]))
    assert styles.shape == (1, 3, 16)
    expected = torch.cat([faces.spread(faces.mapping(z))[:, :cut], faces.spread(faces.mapping(other))[:, cut:]], dim=1)
    torch.testing.assert_close(styles, expected)


def test_the_same_seed_makes_the_same_weights() -> None:
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(StyleGAN2(16, 16, **SMALL).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not torch.equal(made[0]["generator.constant"], made[2]["generator.constant"])


def test_bf16_stays_close_to_fp32_and_sums_images_in_fp32() -> None:
    faces, critic = StyleGAN2(16, 16, **SMALL), Discriminator(16, **SMALL)
    z, noise = torch.randn(2, 16), torch.rand(2, 16, 16)
    exact = faces(z, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = faces(z, noise)
        scores = critic(images)
    assert images.dtype == scores.dtype == torch.float32
    assert (images - exact).norm() < 0.03 * exact.norm()
