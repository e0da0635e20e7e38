"""Our training of StyleGAN2 and the plain form it is timed against do the same: gradients, weights and average."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import plain_stylegan2 as plain
from benchmarks.stylegan2 import discriminator_part, generator_part
from stages.generation.train_stylegan2 import Training
from stages.runtime import params, schema

SHAPE = {"capacity": 2, "fmap_max": 16, "attention_layers": [1]}
PARTS = 2
PENALTY, PATH_LENGTH = 2, 3


def ours(group: int = 0) -> Training:
    """With the report's losses and regularisers, in every second and third step; weights as after some training."""
    network = schema.StyleGAN2Network(latent_dim=16, **SHAPE, attention_heads=2, minibatch_stddev=group)
    paper = params.load("presets/paper.yaml").stylegan2.train.model_dump()
    often = {"penalty_interval": PENALTY, "path_length_interval": PATH_LENGTH, "path_length_start": 3}
    settings = schema.StyleGAN2Train(**paper | often | {"batch_size": 6, "accumulation": PARTS})
    images = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    how = schema.Training(compile=False, deterministic=False, sync_batch_norm=True)
    model = Training(images, network, settings, how, 0, torch.device("cpu"))
    for parameter in [*model.faces.generator.parameters(), *model.discriminator.parameters()]:
        if parameter.dim() < 2 or parameter.shape[1] == 1:
            nn.init.normal_(parameter, 0.0, 0.2)
    return model


def plain_form(model: Training, group: int = 0) -> plain.Training:
    faces = plain.StyleGAN2(16, 16, **SHAPE, heads=2)
    discriminator = plain.Discriminator(16, **SHAPE, heads=2, minibatch_stddev=group)
    faces.load_state_dict(model.faces.state_dict())
    discriminator.load_state_dict(model.discriminator.state_dict())
    form = plain.Training(faces, discriminator)
    form.average.load_state_dict(model.average.state_dict())
    return form


def steps(model: Training, form: plain.Training, numbers: list[int]) -> None:
    """The same steps, with the same random numbers, of both."""
    for step in numbers:
        torch.manual_seed(step)
        model.update(step)
        torch.manual_seed(step)
        form.discriminator_step([discriminator_part(model, step, part) for part in range(PARTS)], step % PENALTY == 0)
        regularised = step % PATH_LENGTH == 0
        form.generator_step([generator_part(model, regularised) for _ in range(PARTS)], regularised)
        if step == 2:
            form.average_step(beta=0.0)
        elif step == 24_010:
            form.average_step()


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """To 1e-5 of each tensor's norm."""
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).norm() <= 1e-5 * tensor.norm(), name


@pytest.mark.parametrize("step", [7, 8, 9, 12])
def test_a_step_has_the_same_gradients(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ours()
    form = plain_form(model)
    model.path_length_mean.fill_(0.1)
    form.path_length_mean = torch.tensor(0.1)
    networks = [model.faces, model.discriminator, form.faces, form.discriminator]
    optimizers = [*model.optimizers.values(), form.generator_optimizer, form.discriminator_optimizer]
    found = []
    for network, optimizer in zip(networks, optimizers, strict=True):
        gradients = found.append({}) or found[-1]
        monkeypatch.setattr(optimizer, "step", lambda network=network, gradients=gradients: gradients.update(kept(network)))
    steps(model, form, [step])
    assert all(gradient.abs().max() > 0 for gradient in found[0].values())
    assert_equal(found[0], found[2])
    assert_equal(found[1], found[3])


def kept(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("group", [0, 3])
def test_several_steps_end_in_the_same_weights_and_average(group: int, double) -> None:
    model = ours(group)
    form = plain_form(model, group)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    steps(model, form, [1, 2, 3, 4, 6, 24_010])
    for name in ("faces", "discriminator", "average"):
        assert_equal(dict(getattr(model, name).named_parameters()), dict(getattr(form, name).named_parameters()))
    assert not any(torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model.path_length_mean, form.path_length_mean)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterable[None]:
    """Everything in float64, also where our networks ask for float32: Adam makes much of a gradient's last digits."""
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(Tensor, "float", lambda tensor: tensor.double())
    yield
    torch.set_default_dtype(torch.float32)
