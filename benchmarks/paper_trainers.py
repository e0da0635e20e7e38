"""Every trainer with the settings of the presets `paper` and `best`, on images of noise: what gpu_check tries and times."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from stages.adaptation import method
from stages.adaptation.train import make_batches
from stages.evaluation.train_judge import JudgeTraining
from stages.generation.train_acgan import ACGAN
from stages.generation.train_stylegan2 import Training as StyleGAN2Training
from stages.runtime import device, schema
from stages.runtime.seeding import numpy_generator, seed_step
from stages.runtime.training import Trainable

Make = Callable[[torch.device, str, schema.Training], Trainable]
PAPER, BEST = "presets/paper.yaml", "presets/best.yaml"


@dataclass(frozen=True)
class Trainer:
    """A trainer of the preset.

    `make` builds it for a device, a precision and the section `training`. `steps` are those of one run of `runs`, each with
    `images` images. `telling` are step numbers at which every term of its losses has a part; `timed` are consecutive ones
    that are, on average, like the long run of them.
    """

    name: str
    make: Make
    precision: str
    steps: int
    runs: int
    images: int
    telling: tuple[int, ...]
    timed: range


def trainers(params: schema.Params, *, images: int = 640, side: int = 64, toy: bool = False) -> list[Trainer]:
    """The trainers that `params` names, StyleGAN2 first, on so many images, its own of `side` pixels.

    source_only comes once for each augmentation of the pairs, which costs the other methods as much. `toy` shrinks networks
    and batches to what a test can wait for.
    """
    adaptation = params.adaptation
    names = [name for name in (*adaptation.methods, "target_only") if name != "source_only"]
    augmented = sorted({pair.source_augment for pair in adaptation.pairs.values()}, key=lambda one: (one != "none", one))
    return [
        _stylegan2(params.stylegan2, images, side, toy),
        _acgan(params.acgan, images, toy),
        _judge(params.judge, images, toy),
        *(_adaptation(adaptation, "source_only", images, toy, augment) for augment in augmented),
        *(_adaptation(adaptation, name, images, toy) for name in names),
    ]


def trainers_of_best(params: schema.Params, *, images: int = 640, toy: bool = False) -> list[Trainer]:
    """All trainers of the preset `best`, with its name in theirs."""
    return [replace(one, name=f"{one.name} of best") for one in trainers(params, images=images, toy=toy)]


def others_of_best(params: schema.Params, *, images: int = 640, toy: bool = False) -> list[Trainer]:
    """What the preset `best` trains in other ways than `paper`: adaptive augmentation, self-ensembling, and so on."""
    alike = [f"{name} of best" for name in ("judge", "source_only", "target_only", "dann", "dsn")]
    return [one for one in trainers_of_best(params, images=images, toy=toy) if one.name not in alike]


def digits(count: int, side: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise uint8 (count, side, side, 3) and labels int64 (count,)."""
    generator = numpy_generator(0, "noise")
    return generator.integers(256, size=(count, side, side, 3), dtype=np.uint8), np.arange(count) % 10


def _stylegan2(params: schema.StyleGAN2, images: int, side: int, toy: bool) -> Trainer:
    network, settings = params.network, params.train
    if toy:
        network = network.model_copy(update={"latent_dim": 8, "capacity": 2, "fmap_max": 8, "attention_heads": 1})
        settings, side = settings.model_copy(update={"batch_size": 2 * (network.minibatch_stddev or 2), "accumulation": 2}), 8
    start = settings.path_length_start - settings.path_length_start % settings.path_length_interval
    first = start + settings.path_length_interval

    def make(place: torch.device, precision: str, training: schema.Training) -> Trainable:
        pictures, _ = digits(images, side)
        model = StyleGAN2Training(pictures, network, settings.model_copy(update={"precision": precision}), training, 0, place)
        if model.ada is not None:
            # As after some training: at first nothing is augmented.
            model.ada.p.fill_(0.5)
        return model

    return Trainer(
        name="StyleGAN2",
        make=make,
        precision=settings.precision,
        steps=settings.steps,
        runs=len(params.seeds),
        images=settings.batch_size,
        telling=(1, settings.penalty_interval, first, first + settings.path_length_interval),
        timed=range(first + 1, first + 1 + (2 if toy else math.lcm(settings.path_length_interval, settings.penalty_interval))),
    )


def _acgan(params: schema.ACGAN, images: int, toy: bool) -> Trainer:
    settings = params.train.model_copy(update={"batch_size": 4} if toy else {})

    def make(place: torch.device, precision: str, training: schema.Training) -> Trainable:
        return ACGAN(*digits(images), settings.model_copy(update={"precision": precision}), 0, place, training)

    return _plain("ACGAN", make, settings, len(params.seeds), settings.batch_size, toy)


def _judge(params: schema.Judge, images: int, toy: bool) -> Trainer:
    settings = params.model_copy(update={"batch_size": 4} if toy else {})

    def make(place: torch.device, precision: str, training: schema.Training) -> Trainable:
        return JudgeTraining(*digits(images), settings.model_copy(update={"precision": precision}), place, training)

    return _plain("judge", make, settings, 1, settings.batch_size, toy)


def _adaptation(params: schema.Adaptation, name: str, images: int, toy: bool, augment: str = "none") -> Trainer:
    common = params.common.model_copy(update={"batch_size": 4} if toy else {})
    settings = getattr(params, name)
    if toy and name == "mean_teacher":
        settings = settings.model_copy(update={"width": 8})
    target = None if name in ("source_only", "target_only") else digits(images)[0]

    def make(place: torch.device, precision: str, training: schema.Training) -> Trainable:
        seed_step(0, "init")
        model: Any = device.place(method.named(name)(), place)
        batches = make_batches(*digits(images), target, common.batch_size, augment, 0, place, training)
        model.start(batches, common.model_copy(update={"precision": precision}), settings, compiled=training.compile)
        if name == "mean_teacher":
            # Sure of a digit, as a trained one is: of images of which it is not, it learns nothing.
            for classifier in (model.student, model.teacher):
                classifier.class_head.bias.data[0] = 8.0
        return model

    seen = common.batch_size * (1 if target is None else 2)
    pairs = [pair for pair in params.pairs.values() if name != "source_only" or pair.source_augment == augment]
    runs = len(pairs) * len(params.seeds)
    # DSN's last term comes late; its steps are timed from there on.
    first = getattr(settings, "similarity_start", 0) + 1
    shown = name if augment == "none" else f"{name}, {augment}"
    return _plain(shown, make, settings, runs, seen, toy, precision=common.precision, first=first)


def _plain(
    name: str, make: Make, settings: Any, runs: int, images: int, toy: bool, *, precision: str = "", first: int = 1
) -> Trainer:
    """A trainer all of whose steps are alike from `first` on."""
    return Trainer(
        name=name,
        make=make,
        precision=precision or settings.precision,
        steps=settings.steps,
        runs=runs,
        images=images,
        telling=(1, first + 1, first + 2),
        timed=range(first + 3, first + 3 + (2 if toy else 50)),
    )
