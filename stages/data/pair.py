"""Bring both data sets of one pair to the same form, and give each reader no more than it may see.

Reads data/prepared/DATASET.npz of both. Writes to data/pairs/PAIR: train.npz (source with labels, held-out source for
validation, target without labels), target.npz (the labelled target training images, for the bound `target_only` alone) and
test.npz (both test splits, whole). With adaptation.images.oracle_dev, so many target training images are in neither of the first
two: they stand in test.npz with their labels, for tuning alone.

    python -m stages.data.pair mnistm-mfeat
"""

from pathlib import Path
from typing import Annotated

import numpy as np

from stages.data.pictures import DIGIT_SIDE, unify
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.images import Blocks, in_blocks, load_split, save_arrays
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run

PREPARED = Path("data/prepared")
PAIRS = Path("data/pairs")


def main(pair: Annotated[str, "pair of data sets", "adaptation.pairs"]) -> None:
    keys = ("source", "target", "max_source", "max_target")
    form, source, target, max_source, max_target = params.read(
        "adaptation.images", *(f"adaptation.pairs.{pair}.{key}" for key in keys)
    )
    source_train, target_train, source_test, target_test = (
        load_split(PREPARED / f"{dataset}.npz", split) for split in ("train", "test") for dataset in (source, target)
    )
    source_order = _order(source, len(source_train[1]), max_source, form.seed)
    target_order, dev_order = without_dev(_order(target, len(target_train[1]), None, form.seed), form.oracle_dev, target)
    target_order = target_order[:max_target]
    held_out = hold_out(source_train[1][source_order], form.validation, numpy_generator("validation", source, form.seed))
    if held_out.all() or not held_out.any():
        raise UserError(
            f"adaptation.images.validation {form.validation} holds out {held_out.sum()} of the {len(held_out)} source images of "
            f"{source}: change it, or take more source images (max_source)"
        )

    save_arrays(
        PAIRS / pair / "train.npz",
        **_part("source", source_train, source_order[~held_out]),
        **_part("validation", source_train, source_order[held_out]),
        target_images=_unified(target_train[0], target_order),
    )
    save_arrays(PAIRS / pair / "target.npz", **_part("train", target_train, target_order))
    save_arrays(
        PAIRS / pair / "test.npz",
        **_part("test", target_test, np.arange(len(target_test[1]))),
        **_part("source_test", source_test, np.arange(len(source_test[1]))),
        **(_part("oracle_dev", target_train, dev_order) if len(dev_order) else {}),
    )


def hold_out(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Mask (n,) of images held out for validation: `share` of every class, rounded, at random."""
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        held_out[generator.permutation(members)[: round(share * len(members))]] = True
    return held_out


def without_dev(order: np.ndarray, count: int, dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """An order parted into what may be trained on and its last `count`; UserError where these are all, or more."""
    if count >= len(order):
        raise UserError(
            f"adaptation.images.oracle_dev {count} leaves none of the {len(order)} training images of {dataset} to learn from: "
            "choose a smaller number, or 0"
        )
    return order[: len(order) - count], order[len(order) - count :]


def _order(dataset: str, count: int, most: int | None, seed: int) -> np.ndarray:
    """The training images' numbers in random order, which tells nothing of the labels; `most` of them where that is a number."""
    return numpy_generator("order", dataset, seed).permutation(count)[:most]


def _part(name: str, split: tuple[np.ndarray, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray | Blocks]:
    """NAME_images and NAME_labels: those of a split whose numbers `order` has, in its order."""
    return {f"{name}_images": _unified(split[0], order), f"{name}_labels": split[1][order]}


def _unified(images: np.ndarray, order: np.ndarray) -> Blocks:
    parts = (unify(images[order[part]], DIGIT_SIDE) for part in in_blocks(len(order), images.shape[1:]))
    return Blocks((len(order), DIGIT_SIDE, DIGIT_SIDE, 3), parts)


if __name__ == "__main__":
    run(main)
