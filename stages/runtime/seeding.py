"""Stateless randomness: every step's random numbers follow from (seed, step) alone, so that a resumed run repeats them."""

import hashlib

import numpy as np


def mix(*parts: int | str) -> int:
    """A 63-bit seed from any integers and words; different parts give unrelated seeds."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed_step(seed: int, step: int | str) -> None:
    """Seed torch's global generators (CPU and every GPU) for one step; drawing within the step then needs no generator."""
    # Here, because stages that only use NumPy need not wait for torch.
    import torch

    mixed = mix(seed, step)
    # torch.manual_seed gives the same numbers. Where there is no GPU, it also writes down from where it was called, for a GPU
    # that might still appear: 0.2 ms of every step.
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(mixed)


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded by `mix(*parts)`."""
    return np.random.default_rng(mix(*parts))
