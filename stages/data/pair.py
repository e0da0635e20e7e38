"""Bring both data sets of one pair to the same form, and give each reader no more than it may see.

Writes to data/pairs/PAIR: train.npz (source with labels, held-out source for validation, target without labels), target.npz
(the labelled target training images, for the bound `target_only` alone) and test.npz (both test splits, whole).
"""

from pathlib import Path

import numpy as np

from stages.data.pictures import unify
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.images import load_split, save_arrays
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run

PREPARED = Path("data/prepared")
PAIRS = Path("data/pairs")


def main(pair: str) -> None:
    keys = ("source", "target", "max_source", "max_target")
    form, source, target, max_source, max_target = params.read(
        "adaptation.images", *(f"adaptation.pairs.{pair}.{key}" for key in keys)
    )
    source_images, source_labels = _drawn(source, max_source, form.seed)
    target_images, target_labels = _drawn(target, max_target, form.seed)
    source_test_images, source_test_labels = load_split(PREPARED / f"{source}.npz", "test")
    test_images, test_labels = load_split(PREPARED / f"{target}.npz", "test")

    source_images = unify(source_images, form.size)
    target_images = unify(target_images, form.size)
    held_out = hold_out(source_labels, form.validation, numpy_generator("validation", source, form.seed))
    if held_out.all() or not held_out.any():
        raise UserError(
            f"adaptation.images.validation {form.validation} holds out {held_out.sum()} of the {len(held_out)} source images of "
            f"{source}: change it, or take more source images (max_source)"
        )

    save_arrays(
        PAIRS / pair / "train.npz",
        source_images=source_images[~held_out],
        source_labels=source_labels[~held_out],
        validation_images=source_images[held_out],
        validation_labels=source_labels[held_out],
        target_images=target_images,
    )
    save_arrays(PAIRS / pair / "target.npz", train_images=target_images, train_labels=target_labels)
    save_arrays(
        PAIRS / pair / "test.npz",
        test_images=unify(test_images, form.size),
        test_labels=test_labels,
        source_test_images=unify(source_test_images, form.size),
        source_test_labels=source_test_labels,
    )


def hold_out(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Mask (n,) of images held out for validation: `share` of every class, rounded, at random."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held_out[generator.permutation(members)[: round(share * len(members))]] = True
    return held_out


def _drawn(dataset: str, most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The training split in random order, so that its order tells nothing of the labels; `most` of it where that is a number."""
    images, labels = load_split(PREPARED / f"{dataset}.npz", "train")
    order = numpy_generator("order", dataset, seed).permutation(len(images))[:most]
    return images[order], labels[order]


if __name__ == "__main__":
    run(main)
