"""StyleGAN2: our training step against the plain form."""

from benchmarks.plain_stylegan2 import Part
from stages.generation.train_stylegan2 import Training


def discriminator_part(model: Training, step: int, part: int) -> Part:
    """What a part of the discriminator's step draws, from the same random numbers as `model`."""
    real = model._real(step, part)
    return Part(real, *model._mixture(), model._noise(), real)


def generator_part(model: Training, regularised: bool) -> Part:
    """What a part of the generator's step draws; `real` is without use."""
    latents, noise = model._mixture(), model._noise()
    return Part(noise, *latents, noise, model._direction() if regularised else noise)
