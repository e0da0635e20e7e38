"""How much faster is one StyleGAN2 step than its plain form? `python -m benchmarks.stylegan2`.

A step is one of the discriminator and one of the generator, and moves the average where the preset does so in every step. The
kinds of each, with and without their regularisers, are timed one by one and added up by how often they come: a gradient
penalty as often as in the preset (every 4 steps in `paper`, every 16 in `laptop`), the path length every 32, as `paper` has
it, also for `laptop`, which trains without. Both forms do the same work: loss and penalty are `paper`'s, neither augments its
images, and the plain one finds its latents drawn. Each has a process of its own, which keeps freed memory: the plain form,
too, gains by that. Both take the whole batch at once and, where the preset has several parts, also those (the plain form those
of `plain_parts`). Adaptive augmentation and DiffAugment are timed by themselves. The laptop preset's size comes last, and there
also ours as that preset trains, with its augmentation and regularisers, which has no plain form.
"""

import functools
import math
from collections.abc import Callable
from itertools import count
from statistics import median

import torch

from benchmarks import plain_stylegan2 as plain
from benchmarks.common import (
    PARTS_BELOW,
    by_part,
    duration,
    elsewhere,
    flops_of,
    interleaved,
    machine,
    peak_flops,
    peak_line,
    processes,
    ratio_line,
)
from benchmarks.paper_trainers import PAPER, digits
from benchmarks.plain_stylegan2 import Part
from stages.generation.ada import transformed
from stages.generation.augment import OPERATIONS, augment
from stages.generation.average import ema_weight
from stages.generation.train_stylegan2 import Training
from stages.runtime import parallel, params, schema
from stages.runtime.seeding import seed_step

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Preset, side of its images, rounds, and steps of a kind in each.
SIZES = (("paper", 64, 3, 1), ("laptop", 32, 5, 5))
Kinds = dict[str, Callable[[], object]]


def main() -> None:
    print(machine(), flush=True)
    peaks = {precision: peak_flops(dtype) for precision, dtype in DTYPES.items()}
    for preset, side, rounds, repeats in SIZES:
        compare(preset, side, rounds, repeats, peaks)
    print(f"  {elsewhere(as_it_trains, params.load('presets/laptop.yaml'), 32):.1f} images/s as laptop trains")


def compare(preset: str, side: int, rounds: int, repeats: int, peaks: dict[str, float]) -> None:
    """Print ratios, shares of the peak and images a second with network, batch and intervals of `preset`.

    Each of our forms takes turns with the plain one whose batch is whole or comes in parts as its own does, and no other is there
    meanwhile: the plain form of `paper` takes 14 GB, ours 5 GB.
    """
    chosen = params.load(f"presets/{preset}.yaml")
    size, shares = chosen.stylegan2.train.batch_size, shares_of_kinds(chosen.stylegan2.train)
    print(f"\nStyleGAN2 at {side}x{side}, the {preset} preset's network, batch {size}")
    for name, taken in interleaved(augmentations(size, side), rounds=rounds, repeats=5).items():
        print(f"  {name} of a batch and its gradient, part of no step below: {duration(median(taken))}")
    flops = elsewhere(flops_of_step, chosen, side)
    slow = plain_forms(chosen.stylegan2.train)
    for form, (precision, split) in our_forms(chosen.stylegan2.train).items():
        [plain] = [name for name, parts_of_it in slow.items() if (parts_of_it == 1) == (split == 1)]
        pair = {plain: (plain_form, chosen, side, slow[plain]), form: (our_form, chosen, side, precision, split)}
        with processes(pair) as forms:
            kinds = {f"{name} {kind}": functools.partial(call, kind) for name, call in forms.items() for kind in shares}
            seconds = interleaved(kinds, rounds=rounds, repeats=repeats)
        for name in pair:
            print(f"  {name}: " + ", ".join(f"{kind} {duration(median(seconds[f'{name} {kind}']))}" for kind in shares))
        steps = {
            name: [sum(shares[kind] * seconds[f"{name} {kind}"][i] for kind in shares) for i in range(rounds)] for name in pair
        }
        print(ratio_line(f"  step in {form}, against {plain}", steps[plain], steps[form]))
        taken = median(steps[form])
        print(f"  {size / taken:.1f} images/s; {peak_line(f'step in {form}', flops, taken, peaks[precision])}", flush=True)
        if flops / taken < PARTS_BELOW * peaks[precision]:
            for kind, where in elsewhere(where_time_goes, chosen, side, precision, split).items():
                print(f"    {kind}: {where}", flush=True)


def flops_of_step(chosen: schema.Params, side: int) -> float:
    """Floating-point operations of our step, over all kinds as often as they come."""
    kinds = our_kinds(our_training(chosen, side, "fp32", 1))
    return sum(share * flops_of(kinds[kind]) for kind, share in shares_of_kinds(chosen.stylegan2.train).items())


def where_time_goes(chosen: schema.Params, side: int, precision: str, split: int) -> dict[str, str]:
    """The parts of our time by kind of step, without the rare path length."""
    kinds = our_kinds(our_training(chosen, side, precision, split))
    return {kind: by_part(kinds[kind], 5) for kind in ("discriminator", "penalised", "generator")}


def our_forms(settings: schema.StyleGAN2Train) -> dict[str, tuple[str, int]]:
    """Precision and parts of the batch of each of our forms: whole, and in the preset's parts where there are several."""
    split = settings.accumulation
    forms = {precision: (precision, 1) for precision in DTYPES}
    if split > 1:
        forms |= {f"{precision}, in {split} parts": (precision, split) for precision in DTYPES}
    return forms


def plain_forms(settings: schema.StyleGAN2Train) -> dict[str, int]:
    """Parts of the batch of each plain form, likewise."""
    split = plain_parts(settings)
    return {"plain": 1} | ({f"plain, in {split} parts": split} if split > 1 else {})


def plain_form(chosen: schema.Params, side: int, split: int) -> Callable[[str], object]:
    """A call of the plain form's step of the kind that is named, on `split` parts of a batch."""
    model = our_training(chosen, side, "fp32", split)
    kinds = plain_kinds(model, chosen.stylegan2.network, side)
    return lambda kind: kinds[kind]()


def plain_parts(settings: schema.StyleGAN2Train) -> int:
    """The parts of the plain form's batch: the preset's, but 5 of 6 images where that has 6 of 5.

    With 5 images, on two threads, PyTorch's backward pass of its default convolutions ends the process by a fault.
    """
    return 5 if (settings.batch_size, settings.accumulation) == (30, 6) else settings.accumulation


def our_form(chosen: schema.Params, side: int, precision: str, split: int) -> Callable[[str], object]:
    """A call of our step of the kind that is named, on `split` parts of a batch."""
    kinds = our_kinds(our_training(chosen, side, precision, split))
    return lambda kind: kinds[kind]()


def shares_of_kinds(settings: schema.StyleGAN2Train) -> dict[str, float]:
    """How many steps of each kind there are in one step, on average."""
    penalised, regularised = 1 / settings.penalty_interval, 1 / settings.path_length_interval
    return {
        "discriminator": 1 - penalised,
        "penalised": penalised,
        "generator": 1 - regularised,
        "path length": regularised,
    }


def our_training(chosen: schema.Params, side: int, precision: str, split: int) -> Training:
    """Ours with network, batch, intervals and average of a preset, its batch in `split` parts, on images of noise.

    Else it does what the plain form does: loss and regularisers of `paper`, no augmentation.
    """
    images, _ = digits(64, side)
    settings = chosen.stylegan2.train.model_dump(include={"batch_size", "penalty_interval", "ema", "ema_decay"})
    settings |= {"precision": precision, "accumulation": split, "augment": [], "ada_target": None}
    place = parallel.start(chosen.training)
    train = params.load(PAPER).stylegan2.train.model_copy(update=settings)
    return Training(images, chosen.stylegan2.network, train, chosen.training, 0, place)


def our_kinds(model: Training) -> Kinds:
    """One call of each kind of step, as the training loop comes to it."""
    interval = model.settings.path_length_interval
    # The second step with a path length: the first has no mean to compare it with, and so no part of it in its loss.
    regularised = interval * (math.ceil(model.settings.path_length_start / interval) + 1)
    assert model._path_length_turn(regularised) == (False, True)
    return {
        "discriminator": lambda: model._update_discriminator(1),
        "penalised": lambda: model._update_discriminator(model.settings.penalty_interval),
        "generator": lambda: (model._update_generator(1), model._update_average(1)),
        "path length": lambda: (model._update_generator(regularised), model._update_average(1)),
    }


def as_it_trains(chosen: schema.Params, side: int) -> float:
    """Images a second of whole steps of the preset, one in `penalty_interval` of them with its penalty, on images of noise."""
    images, _ = digits(64, side)
    settings, place = chosen.stylegan2, parallel.start(chosen.training)
    model, steps = Training(images, settings.network, settings.train, chosen.training, 0, place), count(1)

    def step() -> None:
        number = next(steps)
        seed_step(0, number)
        model.update(number)

    [seconds] = interleaved({"": step}, rounds=3, repeats=settings.train.penalty_interval).values()
    return settings.train.batch_size / median(seconds)


def augmentations(size: int, side: int) -> dict[str, Callable[[], object]]:
    """All transforms of a batch and the gradient by its images, as the generator's step has them."""
    images, p = torch.rand(size, 3, side, side, requires_grad=True), torch.tensor(0.5)
    return {
        "adaptive augmentation": lambda: transformed(images, p).sum().backward(),
        "DiffAugment with all its operations": lambda: augment(images, list(OPERATIONS)).sum().backward(),
    }


def plain_kinds(model: Training, network: schema.StyleGAN2Network, side: int) -> Kinds:
    """The same of the plain form, with the weights and on the images and latents of `model`."""
    shape = network.model_dump(include={"capacity", "fmap_max", "attention_layers"}) | {"heads": network.attention_heads}
    faces = plain.StyleGAN2(side, network.latent_dim, **shape)
    discriminator = plain.Discriminator(side, **shape, minibatch_stddev=network.minibatch_stddev)
    faces.load_state_dict(model.faces.state_dict())
    discriminator.load_state_dict(model.discriminator.state_dict())
    form = plain.Training(faces, discriminator)
    split = range(model.settings.accumulation)
    real = [discriminator_part(model, 1, part) for part in split]
    made = [generator_part(model, regularised=True) for _ in split]

    def generator_step(*, regularised: bool) -> None:
        form.generator_step(made, regularised)
        if ema_weight(model.settings, 1) is not None:
            form.average_step(model.settings.ema_decay)

    return {
        "discriminator": lambda: form.discriminator_step(real, penalised=False),
        "penalised": lambda: form.discriminator_step(real, penalised=True),
        "generator": lambda: generator_step(regularised=False),
        "path length": lambda: generator_step(regularised=True),
    }


def discriminator_part(model: Training, step: int, part: int) -> Part:
    """What a part of the discriminator's step draws, from the same random numbers as `model`; images in NCHW."""
    real = model._real(step, part).contiguous()
    return Part(real, *model._mixture(), model._noise(), real)


def generator_part(model: Training, regularised: bool) -> Part:
    """What a part of the generator's step draws; `real` is without use."""
    latents, noise = model._mixture(), model._noise()
    return Part(noise, *latents, noise, model._direction() if regularised else noise)


if __name__ == "__main__":
    main()
