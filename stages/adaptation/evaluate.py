"""Score a trained classifier on the whole target test split, and its snapshots for the accuracy curve.

Reads models/PAIR-METHOD-SEED/, and of data/pairs/PAIR the test images of test.npz and the held-out source images of train.npz.
Writes results/PAIR-METHOD-SEED/evaluation.json; accuracies are fractions.

    python -m stages.adaptation.evaluate syn-mnistm dann 0
"""

import filecmp
from pathlib import Path
from typing import Annotated

import numpy as np

from stages.adaptation.method import Method, in_batches, named
from stages.runtime import device
from stages.runtime.accuracy import classification_report
from stages.runtime.files import write_json
from stages.runtime.images import load_digits
from stages.runtime.stage import run
from stages.runtime.weights import load_weights


def main(
    pair: Annotated[str, "pair of data sets", "adaptation.pairs"],
    method: Annotated[str, "how it is trained; target_only is the bound", "adaptation.methods"],
    seed: Annotated[int, "seed of the run", "adaptation.seeds"],
) -> None:
    model = device.place(named(method)(), device.pick())
    data, models = Path("data/pairs") / pair, Path("models") / f"{pair}-{method}-{seed}"
    images, labels = load_digits(data / "test.npz", "test")
    validation_images, validation_labels = load_digits(data / "train.npz", "validation")

    load_weights(models / "weights.safetensors", model)
    report = classification_report(labels, predictions(model, images))
    validation = classification_report(validation_labels, predictions(model, validation_images))
    curve = score_snapshots(model, models, report["accuracy"], images, labels)

    write_json(
        Path("results") / models.name / "evaluation.json",
        {**report, "source_validation_accuracy": validation["accuracy"], "curve": curve},
    )


def predictions(model: Method, images: np.ndarray) -> np.ndarray:
    """The most probable digit of each image (n, 28, 28, 3) uint8, int64 (n,)."""
    return in_batches(model.predict, images).argmax(dim=1).numpy()


def score_snapshots(
    model: Method, folder: Path, accuracy: float, images: np.ndarray, labels: np.ndarray
) -> list[dict[str, float]]:
    """Step and accuracy of each snapshots/STEP.safetensors of a run's folder, in the order of steps.

    The last one is as a rule the final weights once more, byte for byte, whose `accuracy` is known.
    """
    curve = []
    for path in sorted((folder / "snapshots").glob("*.safetensors")):
        if filecmp.cmp(path, folder / "weights.safetensors", shallow=False):
            found = accuracy
        else:
            load_weights(path, model)
            found = classification_report(labels, predictions(model, images))["accuracy"]
        curve.append({"step": int(path.stem), "accuracy": found})
    return curve


if __name__ == "__main__":
    run(main)
