"""Train a digit classifier on one pair of domains by one method, with one seed.

Reads data/pairs/PAIR/train.npz, whose target images have no labels; only target_only, the bound, reads the labelled
data/pairs/PAIR/target.npz instead. Writes models/PAIR-METHOD-SEED/ and results/PAIR-METHOD-SEED/history.csv. The weights are
those of the last step, or of the snapshot that the rule of adaptation.common.selection takes.

    python -m stages.adaptation.train syn-mnistm dann 0
"""

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from stages.adaptation import augment, selection
from stages.adaptation.method import Batches, Method, named
from stages.runtime import device, parallel, params, schema
from stages.runtime.batches import Feed, resident_gb
from stages.runtime.errors import UserError
from stages.runtime.images import load_digits, load_unlabelled_digits
from stages.runtime.interruption import say
from stages.runtime.resume import ResumeState
from stages.runtime.seeding import seed_step
from stages.runtime.stage import run
from stages.runtime.training import Trained, train, write_history
from stages.runtime.weights import save_weights


def main(
    pair: Annotated[str, "pair of data sets", "adaptation.pairs"],
    method: Annotated[str, "how it is trained; target_only is the bound", "adaptation.methods"],
    seed: Annotated[int, "seed of the run", "adaptation.seeds"],
) -> None:
    kind = named(method)
    shared = ["training", "adaptation.common", f"adaptation.{method}"]
    if method == "target_only":
        [training, common, settings], source_augment = params.read(*shared), "none"
    else:
        training, common, settings, source_augment = params.read(*shared, f"adaptation.pairs.{pair}.source_augment")
    name = f"{pair}-{method}-{seed}"
    path, arrays = load_training(pair, method)

    place = parallel.start(training)
    state = ResumeState(name, [training, common, settings, source_augment, seed], [path])
    seed_step(seed, "init")
    model = device.place(kind(), place)
    batches = make_batches(*arrays, common.batch_size, source_augment, seed, place, training)
    model.start(batches, common, settings, compiled=training.compile)
    trained = train(
        model,
        run=name,
        seed=seed,
        steps=settings.steps,
        images_per_step=common.batch_size * (1 if arrays[2] is None else 2),
        snapshots=common.snapshots,
        state=state,
    )
    if trained is None:
        return

    weights = model.state_dict()
    if common.selection != selection.LAST and arrays[2] is not None:
        step = select(model, trained, common.selection, arrays[2])
        say(f"{name}: {common.selection} takes step {step}")
        weights = trained.snapshots[step]
    write_outputs(name, weights, trained)
    state.clear()


def load_training(pair: str, method: str) -> tuple[Path, list[np.ndarray | None]]:
    """The file that a method may learn from, and its arrays: labelled images, their labels, unlabelled target images or None."""
    folder = Path("data/pairs") / pair
    if method == "target_only":
        path = folder / "target.npz"
        return path, [*load_digits(path, "train"), None]
    path = folder / "train.npz"
    target = None if method == "source_only" else load_unlabelled_digits(path, "target")
    return path, [*load_digits(path, "source"), target]


def make_batches(
    images: np.ndarray,
    labels: np.ndarray,
    target: np.ndarray | None,
    batch_size: int,
    source_augment: str,
    seed: int,
    place: torch.device,
    training: schema.Training,
) -> Batches:
    """This process's batches of the arrays, of whose images no more than `resident_gb` lie on the device."""
    what = "adaptation.common.batch_size"
    size = parallel.share(batch_size, what)
    if size == 1 and not training.sync_batch_norm:
        raise UserError(f"{what} is {batch_size}, one image a process, too few for batch norm: set training.sync_batch_norm")

    def feed(name: str, from_images: np.ndarray) -> Feed:
        share = resident_gb() * from_images.nbytes / (images.nbytes + (0 if target is None else target.nbytes))
        return Feed(from_images, size, seed=seed, name=name, place=place, resident_gb=share)

    return Batches(
        source=feed("source", images),
        labels=torch.from_numpy(labels).to(place),
        target=None if target is None else feed("target", target),
        augment=augment.named(source_augment),
    )


def select(model: Method, trained: Trained, rule: str, target: np.ndarray) -> int:
    """The step of the snapshot that a rule takes, by the images of the target; the model is left with another's weights."""
    scored = {}
    for step, weights in trained.snapshots.items():
        model.load_state_dict(weights)
        scored[step] = selection.scores(model, target)
    return selection.choose(scored, rule)


def write_outputs(name: str, weights: dict, trained: Trained) -> None:
    """Weights, snapshots and history of a finished training."""
    folder = Path("models") / name
    snapshots = folder / "snapshots"
    shutil.rmtree(snapshots, ignore_errors=True)
    snapshots.mkdir(parents=True)
    for step, snapshot in trained.snapshots.items():
        save_weights(snapshots / f"{step:06d}.safetensors", snapshot)
    save_weights(folder / "weights.safetensors", weights)
    write_history(Path("results") / name / "history.csv", trained.history)


if __name__ == "__main__":
    run(main)
