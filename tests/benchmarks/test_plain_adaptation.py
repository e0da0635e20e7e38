"""The plain forms that the pipeline's speed is measured against do the same work: the same numbers come out."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import adaptation
from benchmarks import plain_adaptation as plain
from stages.adaptation import augment
from stages.adaptation.method import METHODS, Batches, named
from stages.adaptation.methods import mean_teacher
from stages.adaptation.selection import UNSEEN
from stages.runtime import schema
from stages.runtime.batches import Feed

STEPS, START, WIDTH = 4, 1, 8
COMMON = schema.Common(batch_size=8, lr=0.001, beta1=0.9, beta2=0.999, precision="fp32", snapshots=1, selection="last")
SETTINGS = {
    "dann": schema.Dann(steps=STEPS, lambda_steps=STEPS),
    "dsn": schema.Dsn(
        steps=STEPS,
        lambda_steps=STEPS,
        similarity_start=START,
        weight_decay=1e-6,
        lr_decay=0.9,
        lr_decay_steps=20000,
        reconstruction_weight=0.015,
        difference_weight=0.075,
        similarity_weight=0.25,
    ),
    "mean_teacher": schema.MeanTeacher(
        steps=STEPS,
        width=WIDTH,
        ema_decay=0.99,
        confidence=0.968,
        consistency_weight=3.0,
        balance_weight=0.005,
        separate_batch_norm=True,
        standardise=True,
        intensity=True,
        warp=True,
        noise=0.1,
        lr_decay=0.5,
    ),
}


def pictures(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)


def both(name):
    """The pipeline's method, which notes the batches it draws, and the plain form from the same weights; neither drops out."""
    torch.manual_seed(0)
    ours = named(name)()
    place = torch.device("cpu")
    source, target = (Feed(pictures(40, seed), 8, seed=seed, name="", place=place, resident_gb=1.0) for seed in (1, 2))
    ours.start(Batches(source, torch.arange(40) % 10, target, augment.named("none")), COMMON, SETTINGS[name])
    drawn = noted(ours.batches)
    if name == "mean_teacher":
        # Sure of some images as a trained one is, so that the losses on target are there.
        for net in (ours.student, ours.teacher):
            net.class_head.bias.data[3] = 5.5
    model = {"dann": plain.DANN, "dsn": plain.DSN, "mean_teacher": lambda: plain.SelfEnsembling(WIDTH)}[name]()
    names = model.state_dict().keys()
    model.load_state_dict(dict(zip(names, (value.clone() for value in ours.state_dict().values()), strict=True)))
    for module in [*ours.modules(), *model.modules()]:
        if isinstance(module, (nn.Dropout, nn.Dropout2d)):
            module.p = 0.0
    training = {
        "dann": lambda: plain.TrainDANN(model, STEPS),
        "dsn": lambda: plain.TrainDSN(model, STEPS, START),
        "mean_teacher": lambda: plain.TrainSelfEnsembling(model, STEPS, intensity=True),
    }[name]()
    return ours, training, drawn


def noted(batches):
    drawn = {}
    for name in ("labelled", "unlabelled"):
        draw = getattr(batches, name)
        setattr(batches, name, lambda *arguments, name=name, draw=draw: drawn.setdefault(name, draw(*arguments)))
    return drawn


def step_of_both(ours, training, drawn, step):
    drawn.clear()
    torch.manual_seed(step)
    values = ours.update(step)
    images, labels = drawn["labelled"]
    torch.manual_seed(step)
    return values, training.step(step, images.contiguous(), labels, drawn["unlabelled"].contiguous())


def learned(model):
    """Names and parameters, but for those of the teacher, which has no gradients."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def assert_same_gradients(ours, model):
    """To 1e-5 and, since DSN's private encoders have small ones, to a hundredth of the largest of each weight."""
    for (name, parameter), (_, other) in zip(learned(ours), learned(model), strict=True):
        most = min(1e-5, 1e-2 * other.grad.abs().max().item() + 3e-6)
        assert (parameter.grad - other.grad).abs().max().item() <= most, name


def test_every_method_that_learns_from_both_domains_is_timed():
    assert set(adaptation.METHODS) == set(METHODS) - {*UNSEEN, "coral"}  # the last is README's example of a new one


@pytest.fixture(autouse=True)
def no_dropout_of_values(monkeypatch):
    """Self-ensembling's own dropout, of single values, always drops half."""
    monkeypatch.setattr(mean_teacher.Dropout, "forward", lambda self, features, domains=1: features)


@pytest.mark.parametrize("name", SETTINGS)
def test_losses_and_gradients_are_the_same(name):
    ours, training, drawn = both(name)
    values, plain_values = step_of_both(ours, training, drawn, START + 1)
    for key, value in plain_values.items():
        torch.testing.assert_close(values[key], value, rtol=1e-5, atol=1e-5)
    assert name != "mean_teacher" or 0 < values["confident_share"] < 1
    assert_same_gradients(ours, training.model)


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_the_same_after_a_few_steps(name):
    ours, training, drawn = both(name)
    for optimizer in (ours.optimizers["adam"], training.optimizer):
        # Adam's own 1e-8 makes steps of full length out of gradients that are nothing but rounding errors.
        optimizer.param_groups[0]["eps"] = 1e-3
    before = [value.clone() for _, value in learned(ours)]
    for step in range(START + 1, STEPS):
        step_of_both(ours, training, drawn, step)
    for (key, value), other in zip(ours.named_parameters(), training.model.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    moved = [(value - first).abs().max() > 2e-5 for (_, value), first in zip(learned(ours), before, strict=True)]
    assert sum(moved) > 0.6 * len(before)


@pytest.mark.parametrize("name", SETTINGS)
def test_running_statistics_are_the_same_after_a_step(name):
    ours, training, drawn = both(name)
    step_of_both(ours, training, drawn, START + 1)
    for (key, value), other in zip(ours.named_buffers(), training.model.buffers(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_the_plain_loader_reads_the_pictures_that_were_written(tmp_path):
    images, labels = pictures(12, 3), np.arange(12) % 10
    plain.write_digits(tmp_path / "source", images, labels)
    loader = plain.endless(tmp_path / "source", 12, workers=0)
    for _ in range(2):
        batch, found = next(loader)
        order = [int(np.flatnonzero((images == one).all(axis=(1, 2, 3)))[0]) for one in to_uint8(batch)]
        assert sorted(order) == list(range(12))
        assert found.tolist() == [labels[index] for index in order]


def to_uint8(batch):
    return ((batch + 1) * 127.5).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()
